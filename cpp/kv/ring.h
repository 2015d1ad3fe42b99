// The exact rows of a head's newest tokens in a ring, as a device keeps them: a token's row never moves.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kv/cache_format.h"

namespace spectralkv {

// Rows of a ring: what stays exact, and `chunk` tokens that enter together before older ones are sealed;
// whole blocks, so that a block never crosses the ring's end.
inline std::int64_t ring_rows(const LayerFormat& format, std::int64_t n_ctx, std::int64_t chunk) {
  const CacheLayout& layout = format.layout;
  const std::int64_t most = std::max(layout.block + layout.window, format.tail_capacity(n_ctx)) + chunk;
  return (most + layout.block - 1) / layout.block * layout.block;
}

// Calls copy(ring row, token - begin, tokens) for the runs of tokens [begin, end) that do not cross the
// ring's end.
template <class Copy>
void ring_runs(std::int64_t ring_rows, std::int64_t begin, std::int64_t end, const Copy& copy) {
  for (std::int64_t t = begin; t < end;) {
    const std::int64_t row = t % ring_rows, n = std::min(end - t, ring_rows - row);
    copy(row, t - begin, n);
    t += n;
  }
}

}  // namespace spectralkv
