// What a cache writes into a state file, and how it takes it back (kv/state_file.h has the format): the head,
// then each layer.
#pragma once

#include <cstdint>

#include "kv/layer_store.h"
#include "kv/state_file.h"

namespace spectralkv {

// n_tokens: that the cache holds; before any of them is sealed, no calibration has had a say.
void write_cache_head(StateWriter& out, const CacheFormat& format, std::int64_t n_tokens);
// A value error for a layer that holds back its sealing: the file could not say so.
void write_layer(StateWriter& out, const LayerStore& store);

// Both refuse what is not of this build and format.
void read_cache_head(StateReader& in, const CacheFormat& format, std::int64_t n_tokens);
// Whether the head that comes next is of blocks that no calibration had a say in.
bool uncalibrated_head(const StateReader& in);
// n_tokens: those of the file. When it throws, what the store holds is undefined.
void read_layer(StateReader& in, std::int64_t n_tokens, const BlockPool& pool, LayerStore& store);

}  // namespace spectralkv
