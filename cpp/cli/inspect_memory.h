// What running a model takes, estimated from its shape alone: weights, cache by type, activations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace spectralkv {

// The cache of `n_ctx` tokens with one type for K and V. Types whose blocks vary with what they hold have two
// bounds.
struct TypeMemory {
  std::string type;                  // as -ctk and -ctv take it
  std::string name;                  // canonical: what "default" is
  std::int64_t least = 0, most = 0;  // bytes
};

// Every type of the codec table that a model with such a cache can have, with 2, 3 and 4 bits where it takes
// bits.
std::vector<TypeMemory> estimate_caches(const CacheShape& shape, std::int64_t n_ctx);

// The activations of one batch, bytes.
std::int64_t estimate_work(const ModelConfig& config, std::int64_t n_batch);

}  // namespace spectralkv
