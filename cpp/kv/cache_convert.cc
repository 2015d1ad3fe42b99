// Copies of a cache, compressing what an exact one holds, and keeping one from sealing more.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/error.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kChunk = 1024;  // tokens that are decoded and appended together

}  // namespace

void Cache::copy_from(const Cache& other) {
  if (&other == this) return;
  const CacheShape& from = other.shape_;
  check(from.n_layers == shape_.n_layers && from.n_kv_heads == shape_.n_kv_heads &&
            from.head_dim == shape_.head_dim,
        "kv", "copy: the caches differ in shape");
  check(other.n_tokens_ <= shape_.n_ctx, "kv", "copy: ", other.n_tokens_,
        " tokens do not fit into a context of ", shape_.n_ctx);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    check(!other.layers_[l].holds_sealing(), "kv", "copy: a cache that holds its sealing cannot be copied");
    for (const auto which : {&CacheLayer::k, &CacheLayer::v})
      check((layers_[l].*which).built.text == (other.layers_[l].*which).built.text, "kv", "copy: layer ", l,
            " holds cache type '", (other.layers_[l].*which).built.text, "' there and '",
            (layers_[l].*which).built.text, "' here");
  }
  reset();
  const std::int64_t heads = shape_.n_kv_heads;
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    CacheLayer& to = layers_[l];
    const CacheLayer& source = other.layers_[l];
    for (const auto which : {&CacheLayer::k, &CacheLayer::v}) {
      CacheSide& side = to.*which;
      const CacheSide& held = source.*which;
      for (const SealedBlock& block : held.blocks) side.blocks.push_back({block.bytes.copy(), block.offsets});
      side.sinks = held.sinks.copy();
      const std::int64_t tail =
          other.n_tokens_ - static_cast<std::int64_t>(held.blocks.size()) * source.layout.block;
      for (std::int64_t h = 0; h < heads && tail > 0; ++h)
        std::memcpy(side.tail.data() + side.exact->max_bytes(h * to.tail_capacity()),
                    held.tail.data() + side.exact->max_bytes(h * source.tail_capacity()),
                    static_cast<std::size_t>(side.exact->max_bytes(tail)));
    }
  }
  n_tokens_ = other.n_tokens_;
}

void Cache::convert_from(const Cache& exact) {
  const CacheShape& from = exact.shape_;
  check(from.n_layers == shape_.n_layers && from.n_kv_heads == shape_.n_kv_heads &&
            from.head_dim == shape_.head_dim,
        "kv", "convert: the caches differ in shape");
  for (const CacheLayer& layer : exact.layers_)
    check(!layer.lossy, "kv", "convert: the tokens come from an exact cache only (f16, f32)");
  check(exact.n_tokens_ <= shape_.n_ctx, "kv", "convert: ", exact.n_tokens_,
        " tokens do not fit into a context of ", shape_.n_ctx);
  reset();
  const std::int64_t cols = shape_.n_kv_heads * shape_.head_dim;
  const std::int64_t most = std::min(kChunk, exact.n_tokens_);
  Buffer<float> k_rows(static_cast<std::size_t>(most * cols)), v_rows(k_rows.size());
  while (n_tokens_ < exact.n_tokens_) {
    const std::int64_t n = std::min(kChunk, exact.n_tokens_ - n_tokens_);
    const Matrix k(k_rows.data(), n, cols), v(v_rows.data(), n, cols);
    for (std::int64_t l = 0; l < shape_.n_layers; ++l) {
      exact.read(l, n_tokens_, k, v);
      append(l, k, v);
      settle(l, n);
    }
    commit(n);
  }
}

void Cache::hold_sealing(std::int64_t more) {
  assert(more >= 0);
  for (CacheLayer& layer : layers_) {
    const auto n_blocks = static_cast<std::int64_t>(layer.k.blocks.size());
    const std::int64_t tail = n_tokens_ - n_blocks * layer.layout.block, old = layer.tail_capacity();
    layer.most_sealed = n_blocks;
    layer.more_tail = std::max(layer.more_tail, tail + more - (old - layer.more_tail));
    for (CacheSide* side : {&layer.k, &layer.v}) {
      const Codec& codec = *side->exact;
      Buffer<std::byte> grown(
          static_cast<std::size_t>(codec.max_bytes(shape_.n_kv_heads * layer.tail_capacity())));
      for (std::int64_t h = 0; h < shape_.n_kv_heads && tail > 0; ++h)
        std::memcpy(grown.data() + codec.max_bytes(h * layer.tail_capacity()),
                    side->tail.data() + codec.max_bytes(h * old),
                    static_cast<std::size_t>(codec.max_bytes(tail)));
      side->tail = std::move(grown);
    }
  }
}

std::int64_t Cache::nearest_below(std::int64_t n) const {
  n = std::clamp<std::int64_t>(n, 0, n_tokens_);
  while (n < n_tokens_ && !can_truncate(n)) --n;
  return n;
}

}  // namespace spectralkv
