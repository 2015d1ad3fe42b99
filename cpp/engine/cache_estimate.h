// What a session's cache will hold once the context is full.
#pragma once

#include <cstdint>

#include "engine/engine.h"

namespace spectralkv {

struct CacheEstimate {
  struct Side {
    double bits = 0;        // per entry of a sealed block; without blocks, of the exact tail
    bool at_least = false;  // what a block takes depends on what it holds: this is what noise takes
  };
  std::int64_t bytes = 0;  // K and V together, sinks and tail as allocated
  bool at_least = false;
  Side k, v;
};

CacheEstimate estimate_cache(const Session& session);

}  // namespace spectralkv
