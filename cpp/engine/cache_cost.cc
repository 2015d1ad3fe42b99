// The largest blocks are known by layer; the usual ones are as much smaller as the estimate of a cache says.
#include "engine/cache_cost.h"

#include <algorithm>

#include "kv/cache_estimate.h"
#include "kv/sealed_block.h"

namespace spectralkv {

CacheCost::CacheCost(const CacheFormat& format) : format_(format) {
  std::int64_t longest = 0;  // block and window, of any layer
  for (const LayerFormat& layer : format.layers()) {
    std::int64_t most = 0;
    for (const SideFormat* side : {&layer.k, &layer.v})
      most +=
          layer.n_kv_heads * side->max_bytes(layer.layout.block) + SealedBlock::overhead(layer.n_kv_heads);
    layers_.push_back({layer.layout, most, most});
    longest = std::max(longest, layer.layout.block + layer.layout.window);
  }
  const std::int64_t n = 64 * longest;
  const CacheEstimate estimate = estimate_cache(format, n);
  const std::int64_t tail = exact(n);
  const double share = static_cast<double>(estimate.least - tail) / static_cast<double>(estimate.most - tail);
  for (Layer& layer : layers_)
    layer.usual = static_cast<std::int64_t>(share * static_cast<double>(layer.most));
}

std::int64_t CacheCost::exact(std::int64_t n_ctx) const {
  std::int64_t sum = 0;
  for (const LayerFormat& layer : format_.layers())
    sum += layer.exact_bytes(layer.k, n_ctx) + layer.exact_bytes(layer.v, n_ctx);
  return sum;
}

std::int64_t CacheCost::sealed(std::int64_t from, std::int64_t to, std::int64_t Layer::*bytes) const {
  std::int64_t sum = 0;
  for (const Layer& layer : layers_)
    sum += (layer.layout.sealed_for(to) - layer.layout.sealed_for(from)) * layer.*bytes;
  return sum;
}

std::int64_t CacheCost::longest(std::int64_t n, std::int64_t bytes) const {
  std::int64_t fits = 0, beyond = n + 1;
  while (beyond - fits > 1) {
    const std::int64_t middle = fits + (beyond - fits) / 2;
    (exact(middle) + usual(0, middle) <= bytes ? fits : beyond) = middle;
  }
  return fits;
}

}  // namespace spectralkv
