// What sequences take of a budget of cache bytes, by their tokens.
#pragma once

#include <cstdint>
#include <vector>

#include "kv/cache_format.h"

namespace spectralkv {

class CacheCost {
 public:
  explicit CacheCost(const CacheFormat& format);

  // Sinks and tail of a cache with room for n_ctx tokens.
  std::int64_t exact(std::int64_t n_ctx) const;
  // Blocks that seal as `from` tokens become `to`: as large as blocks of noise, and at most. What a block
  // takes may depend on what it holds; a text's are nearer to noise.
  std::int64_t usual(std::int64_t from, std::int64_t to) const { return sealed(from, to, &Layer::usual); }
  std::int64_t most(std::int64_t from, std::int64_t to) const { return sealed(from, to, &Layer::most); }
  // The longest sequence up to n tokens that takes up to `bytes`, by exact and usual; 0: not even one token.
  std::int64_t longest(std::int64_t n, std::int64_t bytes) const;

 private:
  struct Layer {
    CacheLayout layout;
    std::int64_t usual = 0, most = 0;  // bytes of a block, K and V
  };
  std::int64_t sealed(std::int64_t from, std::int64_t to, std::int64_t Layer::*bytes) const;

  const CacheFormat& format_;
  std::vector<Layer> layers_;
};

}  // namespace spectralkv
