// Reading what a cache holds as dense rows.
#include <algorithm>
#include <cassert>
#include <cstring>

#include "kv/cache.h"

namespace spectralkv {
namespace {

// Copies the part of `rows`, tokens [at, at + rows.rows), that lies in tokens [first, first + out.rows).
void copy_overlap(ConstMatrix rows, std::int64_t at, std::int64_t first, Matrix out) {
  const std::int64_t begin = std::max(at, first), end = std::min(at + rows.rows, first + out.rows);
  for (std::int64_t t = begin; t < end; ++t)
    std::memcpy(out.row(t - first), rows.row(t - at), static_cast<std::size_t>(rows.cols) * sizeof(float));
}

// Tokens [first, first + out.rows) of KV head h. out: [n, head_dim].
void read_side(const CacheSide& side, const CacheLayer& layer, std::int64_t h, std::int64_t first,
               Matrix out) {
  const std::int64_t block = layer.layout.block, sink = layer.layout.sink, d = out.cols;
  const std::int64_t end = first + out.rows, n_blocks = std::ssize(side.blocks);
  if (out.rows == 0) return;
  Buffer<float> memory(static_cast<std::size_t>(2 * block * d));
  const Codec& codec = *side.built.codec;
  for (std::int64_t b = first / block; b < n_blocks && b * block < end; ++b) {
    const std::int64_t n = layer.block_tokens(b);
    const Matrix decoded(memory.data(), n, d), left(memory.data() + block * d, n, d);
    codec.decode(side.blocks[static_cast<std::size_t>(b)].head(static_cast<std::size_t>(h)).data(), n,
                 decoded);
    codec.leave(decoded, left);
    copy_overlap(left, (b + 1) * block - n, first, out);
  }
  const Codec& exact = *side.exact;
  if (n_blocks > 0 && sink > 0 && first < sink) {
    const Matrix rows(memory.data(), sink, d);
    exact.decode(side.sinks.data() + exact.max_bytes(h * sink), sink, rows);
    copy_overlap(rows, 0, first, out);
  }
  const std::int64_t tail = n_blocks * block, from = std::max(first, tail);
  if (from < end)
    exact.decode(side.tail.data() + exact.max_bytes(h * layer.tail_capacity() + from - tail), end - from,
                 out.rows_range(from - first, end - from));
}

}  // namespace

void Cache::read_head(std::int64_t layer_index, std::int64_t head, std::int64_t first, Matrix k,
                      Matrix v) const {
  assert(first + k.rows <= n_tokens_ && k.rows == v.rows && k.cols == shape_.head_dim);
  const CacheLayer& layer = this->layer(layer_index);
  read_side(layer.k, layer, head, first, k);
  read_side(layer.v, layer, head, first, v);
}

void Cache::read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const {
  const std::int64_t d = shape_.head_dim;
  for (std::int64_t h = 0; h < shape_.n_kv_heads; ++h)
    read_head(layer, h, first, k.cols_range(h * d, d), v.cols_range(h * d, d));
}

void Cache::drop_work() {
  staging_k_ = {};
  staging_v_ = {};
  slots_ = {};
  for (CodecWork& work : work_) work = {};
}

}  // namespace spectralkv
