// How well a model predicts a text through a cache, and how far that cache bends its distributions from those
// of another one: perplexity and Kullback-Leibler divergence.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kv/report.h"

namespace spectralkv {

// decode: every token is read through the cache in order, as generation would. prefix: the first tokens of a
// chunk are read exactly, then compressed as one, and the rest is read with the compressed prefix and its own
// keys and values exact (the protocol of the published tables).
enum class Protocol { decode, prefix };

struct CacheTypes {
  std::string k = "f16", v = "f16";
};

struct PerplexityOptions {
  Protocol protocol = Protocol::decode;
  std::int64_t n_ctx = 0;     // tokens of a chunk; 0: all that were given
  std::int64_t n_chunks = 0;  // chunks at most; 0: all that fit
  std::int64_t prefix = -1;   // tokens of a chunk that are not scored; -1: half of it (decode only)
  std::int64_t n_batch = 128;
  int n_threads = 0;  // for the comparison; 0: one a core
  CacheTypes types;
  std::optional<CacheTypes> base;  // compare with this cache
  std::string save_logits;         // write the logits of all scored positions to this file
  std::string base_logits;         // compare with such a file, in place of a base cache
  // Those files are in llama-perplexity's format: half of a chunk is scored, and its last position is left
  // out.
  bool peer_logits = false;
  Token chunk_start = -1;  // replaces the first token of a chunk; -1: none does
};

struct Estimate {
  double value = 0, error = 0;  // error: one standard error of the mean
};

// Over scored positions. Those of a chunk are prefix .. n_ctx - 1; the last one predicts nothing in the chunk
// and counts for the divergence only.
struct PerplexityResult {
  std::int64_t n_tokens = 0;     // read, over all chunks
  std::int64_t n_predicted = 0;  // next tokens that entered the perplexity
  std::int64_t n_compared = 0;   // positions that entered the divergence
  Estimate ppl;
  CacheReport cache;  // after the last chunk

  struct Comparison {
    Estimate ppl_base, log_ppl_ratio;  // ratio: ln(ppl / ppl_base)
    Estimate kl;                       // nats
    double kl_max = 0, kl_p999 = 0, kl_p99 = 0, kl_p95 = 0, kl_p90 = 0, kl_median = 0;
    Estimate mean_dp, rms_dp;  // of the probability of the right token, test minus base
    Estimate same_top;         // share of positions with the same most probable token
  };
  std::optional<Comparison> comparison;
};

struct PerplexityHooks {
  // After each chunk: its number from 1, and the perplexity so far.
  std::function<void(std::int64_t chunk, double ppl)> chunk;
  // Now and then: how much of the work is done, of `total`.
  std::function<void(std::int64_t done, std::int64_t total)> progress;
  std::function<bool()> cancelled;
};

// Tokens beyond the last whole chunk are left out. Too few tokens, a prefix that leaves nothing to score, or
// a chunk beyond what the engine takes is a value error.
PerplexityResult measure_perplexity(Engine& engine, std::span<const Token> tokens,
                                    const PerplexityOptions& options, const PerplexityHooks& hooks);

}  // namespace spectralkv
