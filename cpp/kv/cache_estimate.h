// What a cache holds once its context is full, by its format alone.
#pragma once

#include <cstdint>

#include "kv/cache_format.h"

namespace spectralkv {

struct CacheEstimate {
  struct Side {
    double bits = 0;        // per entry of a sealed block, at least; without blocks, of the exact tail
    bool at_least = false;  // what a block takes depends on what it holds: this is what noise takes
  };
  // K and V together, sinks and tail as allocated: with blocks of noise, and with the largest that there are.
  std::int64_t least = 0, most = 0;
  Side k, v;

  bool at_least() const { return k.at_least || v.at_least; }
};

CacheEstimate estimate_cache(const CacheFormat& format, std::int64_t n_ctx);

}  // namespace spectralkv
