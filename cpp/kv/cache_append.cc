// Taking tokens in: staging of the exact rows, sealing of complete blocks, and what stays as tail.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

constexpr float kF16Max = 65504.0f;

// Every value must be finite and fit the exact type; names where one does not. x: [n, heads * head_dim] from
// position pos0 on.
void check_side(ConstMatrix x, bool f16, std::int64_t layer, std::int64_t head_dim, std::int64_t pos0,
                const char* what) {
  const float limit = f16 ? kF16Max : 3.4028235e38f;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const float* row = x.row(t);
    bool good = true;
    for (std::int64_t c = 0; c < x.cols; ++c) good &= std::fabs(row[c]) <= limit;  // false for NaN
    if (good) [[likely]]
      continue;
    for (std::int64_t c = 0; c < x.cols; ++c)
      check(std::fabs(row[c]) <= limit, "kv", "layer ", layer, ", KV head ", c / head_dim, ": the ", what,
            " of token ", pos0 + t, " holds ", row[c],
            std::isfinite(row[c]) ? ", beyond f16; the cache type f32 can hold it" : ", which is not finite");
  }
}

}  // namespace

void Cache::check_rows(std::int64_t layer_index, std::int64_t first, ConstMatrix k, ConstMatrix v) const {
  const CacheLayer& layer = this->layer(layer_index);
  const std::int64_t d = shape_.head_dim, named = shape_.first_layer + layer_index;
  check_side(k, layer.k.exact == f16_.get(), named, d, first, "key");
  check_side(v, layer.v.exact == f16_.get(), named, d, first, "value");
}

Cache::Exact Cache::stage(CacheLayer& layer, CacheSide& side, Buffer<std::byte>& staging, ConstMatrix x) {
  const std::int64_t d = shape_.head_dim, heads = shape_.n_kv_heads, row_bytes = side.exact->max_bytes(1);
  const std::int64_t begin = static_cast<std::int64_t>(side.blocks.size()) * layer.layout.block;
  const std::int64_t held = n_tokens_ - begin, total = held + x.rows;

  Exact exact{side.tail.data(), layer.tail_capacity() * row_bytes, begin, begin + total};
  std::byte* base = side.tail.data();
  if (total > layer.tail_capacity()) {
    const auto need = static_cast<std::size_t>(heads * total * row_bytes);
    if (staging.size() < need) staging = Buffer<std::byte>(need);
    for (std::int64_t h = 0; h < heads; ++h)
      std::memcpy(staging.data() + h * total * row_bytes, base + h * exact.head_stride,
                  static_cast<std::size_t>(held * row_bytes));
    base = staging.data();
    exact = {base, total * row_bytes, begin, begin + total};
  }
  CodecWork& work = work_.front();
  for (std::int64_t h = 0; h < heads; ++h)
    side.exact->encode(x.cols_range(h * d, d), {}, base + h * exact.head_stride + held * row_bytes, work);

  const std::int64_t sink = layer.layout.sink;
  for (std::int64_t t = n_tokens_; t < std::min(sink, begin + total); ++t)
    for (std::int64_t h = 0; h < heads; ++h)
      std::memcpy(side.sinks.data() + (h * sink + t) * row_bytes,
                  base + h * exact.head_stride + (t - begin) * row_bytes,
                  static_cast<std::size_t>(row_bytes));
  return exact;
}

Cache::Staged Cache::append(std::int64_t layer_index, ConstMatrix k, ConstMatrix v) {
  check_rows(layer_index, n_tokens_, k, v);
  CacheLayer& layer = layers_[static_cast<std::size_t>(layer_index)];
  const Staged staged{stage(layer, layer.k, staging_k_, k), stage(layer, layer.v, staging_v_, v)};
  seal(layer_index, staged);
  return staged;
}

void Cache::seal(std::int64_t layer_index, const Staged& staged) {
  CacheLayer& layer = layers_[static_cast<std::size_t>(layer_index)];
  const auto first = static_cast<std::int64_t>(layer.k.blocks.size());
  const std::int64_t count = layer.sealed_for(staged.k.end) - first;
  if (count <= 0) return;
  const std::int64_t heads = shape_.n_kv_heads, d = shape_.head_dim, block = layer.layout.block;
  CacheSide* const sides[2] = {&layer.k, &layer.v};
  const Exact* const exact[2] = {&staged.k, &staged.v};
  const std::int64_t room[2] = {layer.k.built.codec->max_bytes(block), layer.v.built.codec->max_bytes(block)};

  // A piece of work is up to kTogether blocks of a side, of any heads, each encoded into a slot of its own.
  constexpr std::int64_t kTogether = GramLanes::kMost;
  const std::int64_t slot = std::max(room[0], room[1]), of_side = count * heads;
  const std::int64_t pieces = (of_side + kTogether - 1) / kTogether;
  // Kept: between blocks that stay, memory that comes and goes leaves holes.
  const auto need = static_cast<std::size_t>(2 * of_side * slot);
  if (slots_.size() < need) slots_ = Buffer<std::byte>(need);
  std::vector<std::int64_t> used(static_cast<std::size_t>(2 * of_side));
  pool_.for_each(2 * pieces, [&](std::int64_t piece, int thread) {
    const std::int64_t s = piece % 2, begin = piece / 2 * kTogether,
                       end = std::min(begin + kTogether, of_side);
    CodecWork& work = work_[static_cast<std::size_t>(thread)];
    float* rows = work.floats(CodecWork::kRows, (end - begin) * block * d);
    std::array<SealItem, kTogether> items;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t h = i % heads, b = first + i / heads, n = layer.block_tokens(b);
      const std::int64_t position = (b + 1) * block - n;
      const Exact& from = *exact[s];
      const Matrix to(rows, n, d);
      sides[s]->exact->decode(
          from.base + h * from.head_stride + (position - from.begin) * sides[s]->exact->max_bytes(1), n, to);
      rows += n * d;
      items[static_cast<std::size_t>(i - begin)] = {
          to,
          {shape_.first_layer + layer_index, h, position, s == 0 ? KvSide::keys : KvSide::values},
          slots_.data() + (s * of_side + i) * slot};
    }
    const auto n = static_cast<std::size_t>(end - begin);
    sides[s]->built.codec->encode_all(std::span(items).first(n), work);
    for (std::size_t i = 0; i < n; ++i)
      used[static_cast<std::size_t>(s * of_side + begin) + i] = items[i].used;
  });

  for (std::int64_t b = 0; b < count; ++b)
    for (std::int64_t s = 0; s < 2; ++s) {
      SealedBlock sealed;
      const std::int64_t at = s * of_side + b * heads;
      sealed.offsets.push_back(0);
      for (std::int64_t h = 0; h < heads; ++h)
        sealed.offsets.push_back(sealed.offsets.back() +
                                 static_cast<std::uint32_t>(used[static_cast<std::size_t>(at + h)]));
      sealed.bytes = Buffer<std::byte>(sealed.offsets.back());
      for (std::int64_t h = 0; h < heads; ++h)
        std::memcpy(sealed.bytes.data() + sealed.offsets[static_cast<std::size_t>(h)],
                    slots_.data() + (at + h) * slot,
                    static_cast<std::size_t>(used[static_cast<std::size_t>(at + h)]));
      sides[s]->blocks.push_back(std::move(sealed));
    }
}

void Cache::settle_side(const CacheLayer& layer, CacheSide& side, const Buffer<std::byte>& staging,
                        std::int64_t n) {
  const std::int64_t row_bytes = side.exact->max_bytes(1), end = n_tokens_ + n;
  const std::int64_t begin = static_cast<std::int64_t>(side.blocks.size()) * layer.layout.block;
  // Where the rows of this batch began, before its blocks were sealed.
  const std::int64_t old_begin = layer.sealed_for(n_tokens_) * layer.layout.block;
  const bool staged = end - old_begin > layer.tail_capacity();
  if (!staged && begin == old_begin) return;
  const std::int64_t stride = (staged ? end - old_begin : layer.tail_capacity()) * row_bytes;
  const std::byte* base = staged ? staging.data() : side.tail.data();
  for (std::int64_t h = 0; h < shape_.n_kv_heads; ++h)
    std::memmove(side.tail.data() + h * layer.tail_capacity() * row_bytes,
                 base + h * stride + (begin - old_begin) * row_bytes,
                 static_cast<std::size_t>((end - begin) * row_bytes));
}

void Cache::settle(std::int64_t layer_index, std::int64_t n) {
  CacheLayer& layer = layers_[static_cast<std::size_t>(layer_index)];
  settle_side(layer, layer.k, staging_k_, n);
  settle_side(layer, layer.v, staging_v_, n);
}

}  // namespace spectralkv
