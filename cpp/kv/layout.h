// The shape of a model's cache; and which tokens of a layer are sinks, sealed, or tail: the rule, stated once
// for every backend.
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace spectralkv {

struct CacheShape {
  std::int64_t n_layers = 0, n_kv_heads = 0, head_dim = 0;
  std::int64_t first_layer = 0;  // what messages call layer 0
};

// How many tokens make a block, stay exact at the start of the sequence, and stay exact behind the newest.
struct CacheLayout {
  static constexpr std::int64_t kNowhere = INT64_MAX;

  std::int64_t block = 128, sink = 0, window = 0;
  std::int64_t seal_until = kNowhere;  // a query from here on reads as sealed what the one here does

  // Blocks that a query at position t reads as sealed, and that a layer of t tokens holds.
  SKV_HD constexpr std::int64_t sealed_for(std::int64_t t) const {
    const std::int64_t newest = t < seal_until ? t : seal_until;
    return newest < window ? 0 : (newest - window) / block;
  }
  // Blocks of a layer of t tokens that can be encoded, whether a query reads them as sealed yet or not.
  SKV_HD constexpr std::int64_t complete_blocks(std::int64_t t) const {
    return (t < seal_until ? t : seal_until) / block;
  }
  // Tokens of sealed block b, from position block_begin(b) on: the sinks are left out of the first.
  SKV_HD constexpr std::int64_t block_tokens(std::int64_t b) const { return b == 0 ? block - sink : block; }
  SKV_HD constexpr std::int64_t block_begin(std::int64_t b) const { return b == 0 ? sink : b * block; }
  // Tokens behind the sealed blocks of a layer of t tokens.
  SKV_HD constexpr std::int64_t tail_tokens(std::int64_t t) const { return t - sealed_for(t) * block; }

  bool operator==(const CacheLayout&) const = default;
};

}  // namespace spectralkv
