// What a layer holds, cut back, forked, read and counted.
#include "kv/layer_store.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "base/error.h"

namespace spectralkv {
namespace {

Buffer<std::byte> exact_rows(const LayerFormat& format, const SideFormat& side, std::int64_t tokens) {
  return Buffer<std::byte>(static_cast<std::size_t>(side.exact->max_bytes(format.n_kv_heads * tokens)));
}

// The first n rows of each head, from heads `from_capacity` rows apart to heads `to_capacity` apart.
void copy_rows(const Codec& exact, std::int64_t heads, std::int64_t n, const Buffer<std::byte>& from,
               std::int64_t from_capacity, Buffer<std::byte>& to, std::int64_t to_capacity) {
  for (std::int64_t h = 0; h < heads && n > 0; ++h)
    std::memcpy(to.data() + exact.max_bytes(h * to_capacity),
                from.data() + exact.max_bytes(h * from_capacity),
                static_cast<std::size_t>(exact.max_bytes(n)));
}

// Keeps the first `keep` blocks. The first one that goes is exact where `rows` of its tokens become the tail.
void drop_blocks(const LayerStore& store, const SideFormat& format, SideStore& side, std::int64_t keep,
                 std::int64_t rows) {
  if (std::ssize(side.blocks) <= keep) return;
  const SealedBlock& block = side.blocks[static_cast<std::size_t>(keep)];
  for (std::int64_t h = 0; h < store.format->n_kv_heads && rows > 0; ++h)
    std::memcpy(side.tail.data() + format.exact->max_bytes(h * store.tail_capacity),
                block.head(static_cast<std::size_t>(h)).data(),
                static_cast<std::size_t>(format.exact->max_bytes(rows)));
  side.blocks.erase(side.blocks.begin() + keep, side.blocks.end());
}

// Copies the part of `rows`, tokens [at, at + rows.rows), that lies in tokens [first, first + out.rows).
void copy_overlap(ConstMatrix rows, std::int64_t at, std::int64_t first, Matrix out) {
  const std::int64_t begin = std::max(at, first), end = std::min(at + rows.rows, first + out.rows);
  for (std::int64_t t = begin; t < end; ++t)
    std::memcpy(out.row(t - first), rows.row(t - at), static_cast<std::size_t>(rows.cols) * sizeof(float));
}

// Tokens [first, first + out.rows) of KV head h. out: [n, head_dim].
void read_side(const LayerStore& store, const SideFormat& format, const SideStore& side, std::int64_t h,
               std::int64_t first, Matrix out) {
  const CacheLayout& layout = store.format->layout;
  const std::int64_t block = layout.block, sink = layout.sink, d = out.cols;
  const std::int64_t end = first + out.rows, n_blocks = std::ssize(side.blocks);
  if (out.rows == 0) return;
  Buffer<float> memory(static_cast<std::size_t>(2 * block * d));
  for (std::int64_t b = first / block; b < n_blocks && b * block < end; ++b) {
    const std::int64_t n = layout.block_tokens(b);
    const Matrix decoded(memory.data(), n, d), left(memory.data() + block * d, n, d);
    format.codec(h).decode(side.blocks[static_cast<std::size_t>(b)].head(static_cast<std::size_t>(h)).data(),
                           n, decoded);
    format.codec(h).leave(decoded, left);
    copy_overlap(left, layout.block_begin(b), first, out);
  }
  const Codec& exact = *format.exact;
  if (n_blocks > 0 && sink > 0 && first < sink) {
    const Matrix rows(memory.data(), sink, d);
    exact.decode(side.sinks.data() + exact.max_bytes(h * sink), sink, rows);
    copy_overlap(rows, 0, first, out);
  }
  const std::int64_t tail = n_blocks * block, from = std::max(first, tail);
  if (from < end)
    exact.decode(side.tail.data() + exact.max_bytes(h * store.tail_capacity + from - tail), end - from,
                 out.rows_range(from - first, end - from));
}

void count_side(const LayerStore& store, const SideFormat& format, const SideStore& side,
                CacheSideReport& sum, SideCounter& blocks) {
  sum.exact_bytes += static_cast<std::int64_t>(side.sinks.bytes() + side.tail.bytes());
  for (std::int64_t b = 0; b < std::ssize(side.blocks); ++b) {
    const SealedBlock& block = side.blocks[static_cast<std::size_t>(b)];
    const std::int64_t n = store.format->layout.block_tokens(b);
    double paper = 0;
    for (std::size_t h = 0; h < block.n_heads(); ++h)
      paper += format.codec(static_cast<std::int64_t>(h))
                   .paper_bits(block.head(h).data(), n, std::ssize(block.head(h)));
    blocks.add(n * store.format->n_kv_heads * store.format->head_dim, block.bytes(), paper);
  }
}

}  // namespace

LayerStore::LayerStore(const LayerFormat& layer, std::int64_t context, std::int64_t capacity)
    : format(&layer), n_ctx(context), tail_capacity(capacity) {
  k.sinks = exact_rows(layer, layer.k, layer.layout.sink);
  k.tail = exact_rows(layer, layer.k, tail_capacity);
  v.sinks = exact_rows(layer, layer.v, layer.layout.sink);
  v.tail = exact_rows(layer, layer.v, tail_capacity);
}

void LayerStore::reset() {
  n_tokens = 0;
  k.blocks.clear();
  v.blocks.clear();
}

void LayerStore::truncate(std::int64_t n) {
  assert(n <= n_tokens && format->can_go_back(n_tokens, n));
  const std::int64_t keep = format->layout.sealed_for(n), rows = n - keep * format->layout.block;
  drop_blocks(*this, format->k, k, keep, rows);
  drop_blocks(*this, format->v, v, keep, rows);
  n_tokens = n;
}

LayerStore LayerStore::fork(std::int64_t context) const {
  assert(n_tokens <= context);
  return copy_into(LayerStore(*format, context));
}

LayerStore LayerStore::keepsake() const {
  return copy_into(LayerStore(*format, n_tokens, format->layout.tail_tokens(n_tokens)));
}

LayerStore LayerStore::copy_into(LayerStore twin) const {
  twin.n_tokens = n_tokens;
  const std::int64_t tail = format->layout.tail_tokens(n_tokens);
  const auto copy_side = [&](const SideFormat& side, const SideStore& from, SideStore& to) {
    to.blocks = from.blocks;
    to.sinks = from.sinks.copy();
    copy_rows(*side.exact, format->n_kv_heads, tail, from.tail, tail_capacity, to.tail, twin.tail_capacity);
  };
  copy_side(format->k, k, twin.k);
  copy_side(format->v, v, twin.v);
  return twin;
}

void LayerStore::read_head(std::int64_t head, std::int64_t first, Matrix k_out, Matrix v_out) const {
  assert(first + k_out.rows <= n_tokens && k_out.rows == v_out.rows && k_out.cols == format->head_dim);
  read_side(*this, format->k, k, head, first, k_out);
  read_side(*this, format->v, v, head, first, v_out);
}

void LayerStore::count(CacheSideReport& k_sum, SideCounter& k_blocks, CacheSideReport& v_sum,
                       SideCounter& v_blocks) const {
  count_side(*this, format->k, k, k_sum, k_blocks);
  count_side(*this, format->v, v, v_sum, v_blocks);
}

}  // namespace spectralkv
