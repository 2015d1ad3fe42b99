// Taking a step in: staging of its exact rows, sealing of complete blocks, and what stays as tail.
#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kv/drawn_rows.h"
#include "kv/layer_store.h"

namespace spectralkv {
namespace {

constexpr float kF16Max = 65504.0f;

void check_side(const LayerFormat& format, const SideFormat& side, std::int64_t first, ConstMatrix x,
                const char* what) {
  const float limit = side.exact_f32() ? 3.4028235e38f : kF16Max;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    const float* row = x.row(t);
    bool good = true;
    for (std::int64_t c = 0; c < x.cols; ++c) good &= std::fabs(row[c]) <= limit;  // false for NaN
    if (good) [[likely]]
      continue;
    for (std::int64_t c = 0; c < x.cols; ++c)
      check(std::fabs(row[c]) <= limit, "kv", "layer ", format.layer, ", KV head ", c / format.head_dim,
            ": the ", what, " of token ", first + t, " holds ", row[c],
            std::isfinite(row[c]) ? ", beyond f16; the cache type f32 can hold it" : ", which is not finite");
  }
}

}  // namespace

void check_rows(const LayerFormat& format, std::int64_t first, ConstMatrix k, ConstMatrix v) {
  check_side(format, format.k, first, k, "key");
  check_side(format, format.v, first, v, "value");
}

Appended::Appended(LayerStore& store, ConstMatrix k_rows, ConstMatrix v_rows, CacheWork& work)
    : store_(store), work_(work), n_(k_rows.rows) {
  assert(store.n_tokens + n_ <= store.n_ctx);
  check_rows(*store.format, store.n_tokens, k_rows, v_rows);
  k = stage(store.format->k, store.k, work.staging_k, k_rows);
  v = stage(store.format->v, store.v, work.staging_v, v_rows);
  seal();
}

Appended::~Appended() {
  settle(store_.format->k, store_.k, k);
  settle(store_.format->v, store_.v, v);
  store_.n_tokens += n_;
}

ExactRows Appended::stage(const SideFormat& format, SideStore& side, Buffer<std::byte>& staging,
                          ConstMatrix x) {
  const CacheLayout& layout = store_.format->layout;
  const std::int64_t d = store_.format->head_dim, heads = store_.format->n_kv_heads;
  const std::int64_t row_bytes = format.exact->max_bytes(1), held = layout.tail_tokens(store_.n_tokens);
  const std::int64_t begin = store_.n_tokens - held, total = held + x.rows;

  std::byte* base = side.tail.data();
  std::int64_t stride = store_.tail_capacity * row_bytes;
  if (total > store_.tail_capacity) {
    const auto need = static_cast<std::size_t>(heads * total * row_bytes);
    if (staging.size() < need) staging = Buffer<std::byte>(need);
    for (std::int64_t h = 0; h < heads; ++h)
      std::memcpy(staging.data() + h * total * row_bytes, base + h * stride,
                  static_cast<std::size_t>(held * row_bytes));
    base = staging.data();
    stride = total * row_bytes;
  }
  CodecWork& codec_work = work_.workers.front().codec;
  for (std::int64_t h = 0; h < heads; ++h)
    format.exact->encode(x.cols_range(h * d, d), {}, base + h * stride + held * row_bytes, codec_work);

  const std::int64_t sink = layout.sink;
  for (std::int64_t t = store_.n_tokens; t < std::min(sink, begin + total); ++t)
    for (std::int64_t h = 0; h < heads; ++h)
      std::memcpy(side.sinks.data() + (h * sink + t) * row_bytes, base + h * stride + (t - begin) * row_bytes,
                  static_cast<std::size_t>(row_bytes));
  return {base, stride, begin, begin + total};
}

void Appended::seal() {
  const LayerFormat& format = *store_.format;
  const CacheLayout& layout = format.layout;
  const auto first = std::ssize(store_.k.blocks);
  const std::int64_t count = layout.sealed_for(k.end) - first;
  if (count <= 0) return;
  const std::int64_t heads = format.n_kv_heads, d = format.head_dim, block = layout.block;
  struct Side {
    const SideFormat& format;
    SideStore& store;
    const ExactRows& exact;
  };
  const Side sides[2] = {{format.k, store_.k, k}, {format.v, store_.v, v}};

  // A piece of work is up to kTogether blocks of a side, of any heads, each encoded into a slot of its own.
  constexpr std::int64_t kTogether = GramLanes::kMost;
  const std::int64_t slot = std::max(format.k.max_bytes(block), format.v.max_bytes(block)),
                     of_side = count * heads;
  const std::int64_t pieces = (of_side + kTogether - 1) / kTogether;
  // Kept: between blocks that stay, memory that comes and goes leaves holes.
  const auto need = static_cast<std::size_t>(2 * of_side * slot);
  if (work_.slots.size() < need) work_.slots = Buffer<std::byte>(need);
  std::byte* const slots = work_.slots.data();
  std::vector<std::int64_t> used(static_cast<std::size_t>(2 * of_side));
  std::vector<DrawnRows> drawn(static_cast<std::size_t>(of_side));
  if (!format.queries.empty())
    work_.pool.for_each(of_side, [&](std::int64_t i, int thread) {
      const std::int64_t h = i % heads, b = first + i / heads, n = layout.block_tokens(b);
      CodecWork& codec_work = work_.workers[static_cast<std::size_t>(thread)].codec;
      const Matrix keys(codec_work.floats(CodecWork::kRows, n * d), n, d);
      format.k.exact->decode(k.at(*format.k.exact, h, layout.block_begin(b)), n, keys);
      drawn[static_cast<std::size_t>(i)] = DrawnRows(keys, format.queries[static_cast<std::size_t>(h)]);
    });
  work_.pool.for_each(2 * pieces, [&](std::int64_t piece, int thread) {
    const std::int64_t s = piece % 2, begin = piece / 2 * kTogether,
                       end = std::min(begin + kTogether, of_side);
    const Side& side = sides[s];
    CodecWork& codec_work = work_.workers[static_cast<std::size_t>(thread)].codec;
    float* rows = codec_work.floats(CodecWork::kRows, (end - begin) * block * d);
    std::array<SealItem, kTogether> items;
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t h = i % heads, b = first + i / heads, n = layout.block_tokens(b);
      const Matrix to(rows, n, d);
      side.format.exact->decode(side.exact.at(*side.format.exact, h, layout.block_begin(b)), n, to);
      rows += n * d;
      items[static_cast<std::size_t>(i - begin)] = {
          &side.format.codec(h),
          to,
          {format.layer, h, layout.block_begin(b), s == 0 ? KvSide::keys : KvSide::values,
           drawn[static_cast<std::size_t>(i)].rows()},
          slots + (s * of_side + i) * slot};
    }
    const auto n = static_cast<std::size_t>(end - begin);
    items[0].codec->encode_all(std::span(items).first(n), codec_work);
    for (std::size_t i = 0; i < n; ++i)
      used[static_cast<std::size_t>(s * of_side + begin) + i] = items[i].used;
  });

  std::vector<std::span<const std::byte>> of_heads(static_cast<std::size_t>(heads));
  for (std::int64_t b = 0; b < count; ++b)
    for (std::int64_t s = 0; s < 2; ++s) {
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t at = s * of_side + b * heads + h;
        of_heads[static_cast<std::size_t>(h)] = {
            slots + at * slot, static_cast<std::size_t>(used[static_cast<std::size_t>(at)])};
      }
      sides[s].store.blocks.emplace_back(work_.blocks, of_heads);
    }
}

void Appended::settle(const SideFormat& format, SideStore& side, const ExactRows& rows) {
  const std::int64_t row_bytes = format.exact->max_bytes(1);
  const std::int64_t begin = std::ssize(side.blocks) * store_.format->layout.block;  // of what stays
  if (rows.base == side.tail.data() && begin == rows.begin) return;
  for (std::int64_t h = 0; h < store_.format->n_kv_heads; ++h)
    std::memmove(side.tail.data() + h * store_.tail_capacity * row_bytes, rows.at(*format.exact, h, begin),
                 static_cast<std::size_t>((rows.end - begin) * row_bytes));
}

}  // namespace spectralkv
