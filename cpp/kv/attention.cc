// The context of a query is cut into spans that depend on its position alone: eight sealed blocks each, then
// one exact span (sinks and tail). Each span gives one softmax state; states merge in rising order. A long
// decode spreads its spans over the threads, a prompt spreads its tiles: the numbers are the same.
#include "kv/attention.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <vector>

#include "kv/softmax_state.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kSpanBlocks = 8;
constexpr std::int64_t kTileRows = 48;      // query rows (tokens times group) that read a block together
constexpr std::int64_t kPieceTokens = 128;  // exact tokens that are read together

constexpr std::int64_t kMergedAlone = 64;  // so many states are merged before other threads have woken up

// The first part of a block is asked for at once; the rest follows while the block before it is read, by its
// codec or as the processor sees the stream.
constexpr std::size_t kAtOnce = 640;
void prefetch(std::span<const std::byte> bytes) {
  for (std::size_t at = 0; at < std::min(bytes.size(), kAtOnce); at += 64)
    __builtin_prefetch(bytes.data() + at, 0, 3);
}

// Consecutive query tokens of one KV head that see the same sealed blocks. Row r = token r / group, head r %
// group.
struct Tile {
  std::int64_t kv_head = 0, first = 0, tokens = 0;  // positions [first, first + tokens)
  std::int64_t sealed = 0;                          // blocks read as sealed
};

struct Job {
  const Appended& step;
  const LayerStore& store;
  const LayerFormat& layer;
  const AttentionShape& shape;
  ConstMatrix q;
  Matrix out;
  std::int64_t first, group, d;
  std::int64_t skipped =
      0;  // blocks between this span's last and the first that its thread likely reads next

  std::int64_t spans(const Tile& tile) const { return (tile.sealed + kSpanBlocks - 1) / kSpanBlocks + 1; }

  // The tile's queries, scaled, in head space: rows [tokens * group, d].
  void gather(const Tile& tile, Matrix rows) const {
    for (std::int64_t r = 0; r < rows.rows; ++r) {
      const float* from = q.row(tile.first - first + r / group) + (tile.kv_head * group + r % group) * d;
      for (std::int64_t c = 0; c < d; ++c) rows.row(r)[c] = from[c] * shape.scale;
    }
  }

  // -infinity where row r may not see token pos0 + j. False if nothing is left.
  bool mask(const Tile& tile, std::int64_t pos0, Matrix s) const {
    bool any = false;
    for (std::int64_t r = 0; r < s.rows; ++r) {
      const std::int64_t t = tile.first + r / group;
      const std::int64_t end = std::clamp<std::int64_t>(t + 1 - pos0, 0, s.cols);
      const std::int64_t begin = shape.sliding_window > 0
                                     ? std::clamp<std::int64_t>(t + 1 - shape.sliding_window - pos0, 0, end)
                                     : 0;
      std::fill(s.row(r), s.row(r) + begin, -std::numeric_limits<float>::infinity());
      std::fill(s.row(r) + end, s.row(r) + s.cols, -std::numeric_limits<float>::infinity());
      any |= begin < end;
    }
    return any;
  }

  // n tokens from pos0 on in the codecs' form, and what will be read after them.
  struct Piece {
    const Codec &k, &v;
    const std::byte *k_rows, *v_rows;
    std::int64_t n, pos0;
    std::span<const std::byte> next_k, next_v;
  };
  void read(const Tile& tile, const Piece& piece, const Queries& queries, float* memory, SoftmaxState& state,
            CodecWork& work) const {
    const std::int64_t end = piece.pos0 + piece.n;
    if (shape.sliding_window > 0 && end <= tile.first + 1 - shape.sliding_window) return;  // nobody sees it
    const Matrix s(memory, queries.rows.rows, piece.n);
    prefetch(piece.next_k);
    work.ahead = piece.next_k;
    piece.k.score(piece.k_rows, piece.n, queries, s, work);
    const bool partial = end > tile.first + 1 || shape.sliding_window > 0;
    if (partial && !mask(tile, piece.pos0, s)) return;
    prefetch(piece.next_v);
    state.absorb(s);
    work.ahead = piece.next_v;
    piece.v.mix(piece.v_rows, piece.n, s, state.out, work);
  }

  // Span i of a tile into `state`. The last span is the exact one and takes queries in head space.
  void span(const Tile& tile, std::int64_t i, ConstMatrix plain, const Queries& entered, float* memory,
            SoftmaxState& state, CodecWork& work) const {
    state.clear();
    const auto h = static_cast<std::size_t>(tile.kv_head);
    const CacheLayout& layout = layer.layout;
    if (i + 1 < spans(tile)) {
      const auto block_of = [&](const SideStore& side, std::int64_t b) {
        return b < tile.sealed ? side.blocks[static_cast<std::size_t>(b)].head(h)
                               : std::span<const std::byte>();
      };
      const auto after = [&](std::int64_t b) { return (b + 1) % kSpanBlocks == 0 ? b + 1 + skipped : b + 1; };
      for (std::int64_t b = i * kSpanBlocks; b < std::min((i + 1) * kSpanBlocks, tile.sealed); ++b) {
        const std::int64_t n = layout.block_tokens(b), next = after(b);
        // Where the heads of a block lie stands in the block: asked for a block earlier than the heads.
        if (const std::int64_t later = after(next); later < tile.sealed)
          for (const SideStore* side : {&store.k, &store.v})
            side->blocks[static_cast<std::size_t>(later)].prefetch_heads();
        const Piece piece{layer.k.codec(tile.kv_head),
                          layer.v.codec(tile.kv_head),
                          block_of(store.k, b).data(),
                          block_of(store.v, b).data(),
                          n,
                          layout.block_begin(b),
                          block_of(store.k, next),
                          block_of(store.v, next)};
        read(tile, piece, entered, memory, state, work);
      }
      return;
    }
    const Codec &ke = *layer.k.exact, &ve = *layer.v.exact;
    if (tile.sealed > 0 && layout.sink > 0) {
      const std::int64_t row = tile.kv_head * layout.sink;
      const Piece piece{ke,
                        ve,
                        store.k.sinks.data() + ke.max_bytes(row),
                        store.v.sinks.data() + ve.max_bytes(row),
                        layout.sink,
                        0,
                        {},
                        {}};
      read(tile, piece, plain, memory, state, work);
    }
    const std::int64_t end = tile.first + tile.tokens;
    for (std::int64_t pos = tile.sealed * layout.block; pos < end; pos += kPieceTokens) {
      const Piece piece{ke,
                        ve,
                        step.k.at(ke, tile.kv_head, pos),
                        step.v.at(ve, tile.kv_head, pos),
                        std::min(kPieceTokens, end - pos),
                        pos,
                        {},
                        {}};
      read(tile, piece, plain, memory, state, work);
    }
  }

  // Leaves codec space, adds the exact span and divides. `sealed` is the merged state of all spans but the
  // last.
  void finish(const Tile& tile, const SoftmaxState& sealed, SoftmaxState& exact, float* memory) const {
    const std::int64_t m = exact.out.rows;
    if (tile.sealed > 0) {
      const SoftmaxState left(memory, m, d);
      std::copy(sealed.max, sealed.max + m, left.max);
      std::copy(sealed.sum, sealed.sum + m, left.sum);
      layer.v.codec(tile.kv_head).leave(sealed.out, left.out);
      exact.merge(left);
    }
    for (std::int64_t r = 0; r < m; ++r) {
      float* to = out.row(tile.first - first + r / group) + (tile.kv_head * group + r % group) * d;
      for (std::int64_t c = 0; c < d; ++c) to[c] = exact.out.row(r)[c] / exact.sum[r];
    }
  }
};

}  // namespace

void attend(const Appended& rows, const AttentionShape& shape, ConstMatrix q, Matrix out, CacheWork& work) {
  const LayerStore& store = rows.store();
  const LayerFormat& layer = *store.format;
  const std::int64_t heads = layer.n_kv_heads, d = layer.head_dim;
  const std::int64_t first = store.n_tokens, end = first + q.rows, group = shape.n_heads / heads;
  assert(q.rows >= 1 && q.cols == shape.n_heads * d && rows.k.end == end);
  ThreadPool& pool = work.pool;
  Job job{rows, store, layer, shape, q, out, first, group, d};

  std::vector<Tile> tiles;
  const std::int64_t most = std::max<std::int64_t>(1, kTileRows / group);
  for (std::int64_t t = first; t < end;) {
    std::int64_t n = 1;
    while (n < most && t + n < end && layer.layout.sealed_for(t + n) == layer.layout.sealed_for(t)) ++n;
    for (std::int64_t h = 0; h < heads; ++h) tiles.push_back({h, t, n, layer.layout.sealed_for(t)});
    t += n;
  }

  // Work space of a thread: queries plain and entered, logits, three states.
  const std::int64_t m_max = most * group, state_floats = SoftmaxState::floats(m_max, d);
  const std::int64_t s_floats = m_max * std::max(layer.layout.block, kPieceTokens);
  for (CacheWork::Worker& worker : work.workers) {
    const auto need = static_cast<std::size_t>(2 * m_max * d + s_floats + 3 * state_floats);
    if (worker.floats.size() < need) worker.floats = Buffer<float>(need);
    const auto rounded = static_cast<std::size_t>(Queries::bytes_needed(m_max, d));
    if (worker.rounded.size() < rounded) worker.rounded = Buffer<std::byte>(rounded);
  }
  const auto n_tiles = static_cast<std::int64_t>(tiles.size());
  const std::int64_t max_spans = job.spans(tiles.back());
  const bool split = n_tiles < 4 * pool.size() && max_spans > 1 && pool.size() > 1;
  if (split) {
    job.skipped = (pool.size() - 1) * kSpanBlocks;
    const auto need = static_cast<std::size_t>(n_tiles * max_spans * state_floats);
    if (work.states.size() < need) work.states = Buffer<float>(need);
  }
  const auto state_at = [&](std::int64_t tile, std::int64_t span, std::int64_t m) {
    return SoftmaxState(work.states.data() + (tile * max_spans + span) * state_floats, m, d);
  };

  // What each thread has at hand: the queries of the tile that it read last, which is often the next one's.
  struct Prepared {
    std::int64_t tile = -1;
    simd::ByteRows bytes{};
  };
  std::vector<Prepared> prepared(work.workers.size());
  // Reads spans [from, to) of a tile, hands each state to `take`.
  const auto read_spans = [&](std::int64_t index, std::int64_t from, std::int64_t to, int thread,
                              auto&& take) {
    const Tile& tile = tiles[static_cast<std::size_t>(index)];
    CacheWork::Worker& worker = work.workers[static_cast<std::size_t>(thread)];
    const std::int64_t m = tile.tokens * group;
    const Matrix plain(worker.floats.data(), m, d), entered(plain.data + m_max * d, m, d);
    float* const memory = entered.data + m_max * d;
    Prepared& own = prepared[static_cast<std::size_t>(thread)];
    if (own.tile != index) {
      own = {index, {}};
      job.gather(tile, plain);
      if (tile.sealed > 0) {
        layer.k.codec(tile.kv_head).enter(plain, entered);
        own.bytes = Queries::to_bytes(entered, worker.rounded.data());
      }
    }
    const Queries queries(entered, own.bytes);
    for (std::int64_t i = from; i < to; ++i)
      take(i, [&](SoftmaxState& state) { job.span(tile, i, plain, queries, memory, state, worker.codec); });
  };

  if (split) {
    pool.for_each(n_tiles * max_spans, [&](std::int64_t item, int thread) {
      const std::int64_t index = item / max_spans, i = item % max_spans;
      const Tile& tile = tiles[static_cast<std::size_t>(index)];
      if (i >= job.spans(tile)) return;
      read_spans(index, i, i + 1, thread, [&](std::int64_t, auto&& fill) {
        SoftmaxState state = state_at(index, i, tile.tokens * group);
        fill(state);
      });
    });
  }
  const auto complete = [&](std::int64_t index, int thread) {
    const Tile& tile = tiles[static_cast<std::size_t>(index)];
    const std::int64_t m = tile.tokens * group, last = job.spans(tile) - 1;
    CacheWork::Worker& worker = work.workers[static_cast<std::size_t>(thread)];
    float* const states = worker.floats.data() + 2 * m_max * d + s_floats;
    SoftmaxState total(states, m, d), part(states + state_floats, m, d);
    total.clear();
    if (split) {
      for (std::int64_t i = 0; i < last; ++i) total.merge(state_at(index, i, m));
      SoftmaxState exact = state_at(index, last, m);
      job.finish(tile, total, exact, states + 2 * state_floats);
      return;
    }
    read_spans(index, 0, last + 1, thread, [&](std::int64_t i, auto&& fill) {
      fill(part);
      if (i < last) total.merge(part);
    });
    job.finish(tile, total, part, states + 2 * state_floats);
  };
  if (split && n_tiles * max_spans <= kMergedAlone)
    for (std::int64_t index = 0; index < n_tiles; ++index) complete(index, 0);
  else
    pool.for_each(n_tiles, complete);
}

}  // namespace spectralkv
