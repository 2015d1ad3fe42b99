// The lines of the log that sum up a run: model, cache, timings.
#pragma once

#include <string>

#include "engine/engine.h"

namespace spectralkv {

// "kv cache: K f16 16.00 bits per entry, V eoptshrinkq:2 at least 2.14 bits per entry, at least 25.31 MiB for
// the whole context of 4096 tokens"
std::string cache_opening(const Session& session);

// What a compressed cache costs and how to do without; "" of one that loses nothing up to the end of its
// context. "kv cache: lossy, 2.14 bits per entry and at least 5.75 MiB in place of 16 and 90.00 MiB of f16;
// exact: -ctk f16"
std::string lossy_opening(const Session& session);

// "f16 16.00 bits per entry", "eoptshrinkq:2 2.31 bits per entry (2.05 as the paper counts)"; of a side that
// has sealed nothing the bits of its exact tail.
std::string cache_side_text(const CacheSideReport& side);
// "kv cache: 11.25 MiB for 512 tokens, 30 layers, K ..., V ..."
std::string cache_line(const CacheReport& report);
// "prompt eval time = x ms / n tokens (y ms per token, z tokens per second)" with the given label, padded.
std::string timing_line(const std::string& label, double seconds, std::int64_t n_tokens);

// Cache, with what a lossy one spares, load time, prompt eval time, eval time, total time and peak memory, a
// line each.
std::string run_summary(const Session& session, double load_s, double total_s);

// The most memory that the process ever held, bytes.
std::int64_t peak_memory();

}  // namespace spectralkv
