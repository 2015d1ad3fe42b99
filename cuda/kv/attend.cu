// One layer's attention: which sequences of a step attend together, and which kernels run over which pieces
// of their contexts.
#include <algorithm>
#include <bit>
#include <cassert>
#include <type_traits>

#include "cuda/kv/attend_ends.cuh"
#include "cuda/kv/attend_halves.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/attend_tiles.h"
#include "cuda/kv/cache_state.h"
#include "cuda/kv/expand.cuh"
#include "cuda/kv/take_in.cuh"

namespace spectralkv {
namespace {

using device_kv::AttendArgs;
using device_kv::kThreads;
using device_kv::kWarps;
using device_kv::PartView;

constexpr int kMostRows = 8;          // query rows that read the context together, of most kernels
constexpr std::int64_t kSpan = 2048;  // tokens of a prompt that read sealed blocks together
static_assert(kSpan % device_kv::kChunk == 0);
// Up to here warps of 8 rows; beyond, of attend_halves' other form, where a warp has 32.
constexpr std::int64_t kFewRows = 32;
// From here on blocks of codes in tiles are expanded, by count of a warp's instructions for K and V of a
// block of 128 tokens at head dim 128 (docs/cuda.md): some 32000 expand it, and then 2600 multiply it for 32
// rows, where attend_tiles takes 2900 for eight. Both are the same at 115 rows. What attend_plain would
// decode anew for every eight rows is expanded from kFewRows on.
constexpr std::int64_t kExpandRows = 128;

// Of the part that has the most.
int sealed_items(const AttendArgs& args) {
  int most = 0;
  for (int p = 0; p < args.n_parts; ++p) most = std::max(most, args.parts[p].sealed_items);
  return most;
}
int exact_items(const AttendArgs& args) {
  int most = 0;
  for (int p = 0; p < args.n_parts; ++p) most = std::max(most, args.parts[p].exact_items);
  return most;
}

// The items of the part that has the most, of what a launch reads.
int items_of(const AttendArgs& args, bool sealed, bool exact) {
  return sealed && exact ? args.items : sealed ? sealed_items(args) : exact_items(args);
}

template <int G>
void launch_plain(const AttendArgs& args, const device_kv::PlainPart& what, device::Stream stream) {
  device::launch(device_kv::attend_plain<G>,
                 dim3(static_cast<unsigned>(items_of(args, what.sealed, what.exact)),
                      static_cast<unsigned>(args.pairs()), static_cast<unsigned>((args.rows + G - 1) / G)),
                 dim3(kThreads),
                 static_cast<std::size_t>(device_kv::plain_shared_floats(G, args.layer.d)) * 4, stream, args,
                 what);
}

void read_plain(const AttendArgs& args, const device_kv::PlainPart& what, device::Stream stream) {
  if (args.rows == 1) return launch_plain<1>(args, what, stream);
  if (args.rows <= 4) return launch_plain<4>(args, what, stream);
  launch_plain<kMostRows>(args, what, stream);
}

// Calls visit with d as a constant, of those that has_halves has.
template <class Visit>
auto with_head_dim(int d, const Visit& visit) {
  switch (d) {
    case 64:
      return visit(std::integral_constant<int, 64>());
    case 80:
      return visit(std::integral_constant<int, 80>());
    case 96:
      return visit(std::integral_constant<int, 96>());
    case 112:
      return visit(std::integral_constant<int, 112>());
    case 128:
      return visit(std::integral_constant<int, 128>());
    default:
      assert(d == 256);
      return visit(std::integral_constant<int, 256>());
  }
}

// Of tokens from `at` of a step on; one: it has no others.
template <class State>
device_kv::StoreView store_of_chunk(State& s, std::size_t l, std::int64_t at, bool one) {
  device_kv::StoreView store = s.layers[l].store;
  store.position = one ? s.words->position() : s.positions.data() + at / device_kv::kChunk;
  return store;
}

// The first sealed block that a query at position t, or a later one, sees.
std::int64_t first_seen(const device_kv::LayerView& layer, std::int64_t sliding, std::int64_t t) {
  return sliding > 0 && t + 1 > sliding ? std::min((t + 1 - sliding) / layer.block, layer.sealed_for(t)) : 0;
}

// Tokens [at, at + kChunk) of a step into layer l, and the blocks that their queries read as sealed.
template <class State>
void take_chunk(State& s, std::size_t l, std::int64_t at, ConstMatrix k, ConstMatrix v) {
  const device::Stream stream = s.work.main;
  const std::int64_t count = std::min(device_kv::kChunk, k.rows - at);
  if (k.rows > 1) s.wait_for_sealing(l);
  device::launch(device_kv::append_rows<0>, dim3(static_cast<unsigned>(count), 2), dim3(kThreads), 0, stream,
                 s.layers[l].view, store_of_chunk(s, l, at, k.rows == 1), k.data + at * k.stride, k.stride,
                 v.data + at * v.stride, v.stride);
  s.seal_until(l, s.sealed_for(l, s.n_tokens + at + count - 1), false);
}

// By which kernels a step reads a layer: exact tokens, and sealed blocks.
enum class Exact { plain, few, many, with_sealed };
enum class Sealed { as_coded, few, many };
struct Reading {
  Exact exact = Exact::plain;
  Sealed sealed = Sealed::as_coded;
  bool halves[2], groups[2];  // sealed blocks of K, of V, are f16, are q8_0

  // n: tokens of the step. A single one is always read in the form for few rows, however many heads share a
  // KV head: the other form's launches depend on the context, and single tokens are replayed.
  Reading(const device_kv::DeviceLayer& layer, std::int64_t n, std::int64_t group) {
    const std::int64_t rows = n == 1 ? 1 : n * group;  // of a KV head
    bool f16 = device_kv::has_halves(layer.view.d);
    for (std::size_t side = 0; side < 2; ++side) {
      const CodecForm::Kind kind = layer.codec(side, 0).kind;
      halves[side] = kind == CodecForm::Kind::f16;
      groups[side] = kind == CodecForm::Kind::q8_0;
      f16 &= !layer.view.side[side].exact_f32;
    }
    if (!f16) return;
    exact = rows > kFewRows ? Exact::many : Exact::few;
    if (rows > kFewRows && (rows >= kExpandRows || !layer.some_tiles))
      sealed = Sealed::many;
    else if (rows <= kFewRows && (halves[0] || groups[0]) && (halves[1] || groups[1]))
      sealed = Sealed::few, exact = Exact::with_sealed;
  }
};

void launch_halves(const AttendArgs& args, const device_kv::HalvesPart& part, bool few, int items,
                   device::Stream stream) {
  with_head_dim(args.layer.d,
                [&](auto d) { device_kv::launch_halves<d.value>(args, part, few, items, stream); });
}

// Sealed blocks by the tensor cores, of heads both sides of which are of that kind; with_exact: exact tokens
// of all heads too.
void read_tiles(const AttendArgs& args, bool with_exact, device::Stream stream) {
  with_head_dim(args.layer.d, [&](auto d) {
    device_kv::launch_tiles<d.value>(args, with_exact, items_of(args, true, with_exact), stream);
  });
}
bool tiles_take_exact(int d) {
  return with_head_dim(d, [](auto dim) { return device_kv::tiles_take_exact<dim.value>(); });
}

// Rows [first_row, end_row) over exact tokens.
void read_exact(const AttendArgs& args, const Reading& reading, std::int64_t first_row, std::int64_t end_row,
                device::Stream stream) {
  if (reading.exact == Exact::plain) return read_plain(args, {false, true}, stream);
  device_kv::HalvesPart part{};
  part.first_row = static_cast<int>(first_row);
  part.end_row = static_cast<int>(end_row);
  part.exact_alone = true;
  launch_halves(args, part, reading.exact == Exact::few, exact_items(args), stream);
}

// All rows over sealed blocks where they stand, and over exact tokens.
void read_few(const AttendArgs& args, const Reading& reading, device::Stream stream) {
  device_kv::HalvesPart part{};
  part.end_row = args.rows;
  part.end_block = INT32_MAX;
  for (int side = 0; side < 2; ++side) part.side[side] = {nullptr, reading.groups[side]};
  launch_halves(args, part, true, args.items, stream);
}

// All rows of a span of one part over sealed blocks in f16; those that are not are expanded, as many together
// as there is room for. first: the span's first position.
template <class State>
void read_many(State& s, const AttendArgs& args, const Reading& reading, std::int64_t first,
               std::int64_t count) {
  const auto& view = args.layer;
  const PartView& own = args.parts[0];
  device_kv::AttendMemory& m = s.work.attention;
  const std::int64_t begin = first_seen(view, args.sliding, first), end = view.sealed_for(first + count - 1);
  const std::int64_t values = view.heads * view.block * view.d;  // of a block of all heads
  const int expanded = (reading.halves[0] ? 0 : 1) + (reading.halves[1] ? 0 : 1);
  const std::int64_t stretch =
      expanded == 0 ? INT64_MAX : std::max<std::int64_t>(1, m.most_expanded / (2 * values * expanded));
  for (std::int64_t b = begin; b < end;) {
    const std::int64_t blocks = std::min(stretch, end - b);
    device_kv::HalvesPart part{};
    part.end_row = args.rows;
    part.resume = b > begin;
    part.first_block = static_cast<int>(b);
    part.end_block = static_cast<int>(b + blocks);
    device_kv::ExpandArgs expand{view, own.store, b, {}, {}};
    for (int side = 0; side < 2; ++side) {
      part.side[side].rows = own.store.side[side].blocks + b * view.heads;
      if (reading.halves[side]) continue;
      m.expanded[side].reserve(static_cast<std::size_t>(blocks * values));
      m.expanded_table[side].reserve(static_cast<std::size_t>(blocks * view.heads));
      expand.rows[side] = m.expanded[side].data();
      part.side[side].rows = expand.table[side] = m.expanded_table[side].data();
      device::launch(device_kv::expand_blocks<0>,
                     dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(view.heads)), dim3(kThreads),
                     sizeof(float) * static_cast<std::size_t>(device_kv::expand_codes_floats(
                                         view.d, static_cast<int>(view.block))),
                     s.work.main, expand, side);
    }
    launch_halves(args, part, false, own.sealed_items, s.work.main);
    b += blocks;
  }
}

// The pieces that rows of a part's span, its first position `first`, read side by side: enough blocks of
// threads for the device, as if it had it alone; for one token a number that does not change as the context
// grows, so that launches can be replayed.
template <class State>
void count_items(const State& s, std::size_t l, const Reading& reading, std::int64_t first,
                 std::int64_t count, bool one, const AttendArgs& args, PartView& part) {
  const auto& view = args.layer;
  const std::int64_t chunk = std::min(count, device_kv::kChunk);
  // a_processor: blocks of threads that there is room for, or of a prompt's exact tokens that are worth it,
  // as the states of all of them are kept until the span's end.
  const auto most = [&](std::int64_t rows, bool many, int a_processor) {
    const std::int64_t together = many ? device_kv::many_rows(view.d) : kMostRows,
                       side_by_side = view.heads * ((rows + together - 1) / together);
    return std::max<std::int64_t>(1, a_processor * device::multiprocessors() / side_by_side);
  };
  const std::int64_t blocks =
      one ? s.n_ctx / view.block : s.sealed_for(l, first + count - 1) - first_seen(view, args.sliding, first);
  const std::int64_t pieces =
      ((view.block + 31) / 32) * (view.window / view.block + 1 + (chunk + view.block - 1) / view.block) + 1;
  const bool plain = reading.sealed == Sealed::as_coded && s.layers[l].some_plain,
             many = reading.exact == Exact::many;
  part.sealed_items = static_cast<int>(std::clamp<std::int64_t>(
      (blocks + kWarps - 1) / kWarps, 0, most(args.rows, reading.sealed == Sealed::many, plain ? 4 : 2)));
  part.exact_items = static_cast<int>(std::clamp<std::int64_t>((pieces + kWarps - 1) / kWarps, 1,
                                                               most(chunk * args.group, many,
                                                                    reading.exact == Exact::plain ? 4
                                                                    : many                        ? 1
                                                                                                  : 2)));
}

// A layer's attention by parts of one format, in work space of the backend.
template <class State>
class Reader {
 public:
  // n: tokens of a part.
  Reader(State& any, std::size_t l, const AttentionShape& shape, std::int64_t n, const StepMatrices& step)
      : work_(any.work),
        layer_(any.layers[l]),
        l_(l),
        shape_(shape),
        step_(step),
        group_(shape.n_heads / any.format.shape().n_kv_heads),
        reading_(layer_, n, group_) {
    assert(step.q.cols == shape.n_heads * layer_.view.d && step.out.cols == step.q.cols);
    assert(step.k.cols == layer_.view.heads * layer_.view.d && step.v.cols == step.k.cols);
  }

  // One token of each part, at most kMostParts of them.
  void read_tokens(std::span<const CachePart> parts, const auto& state_of) {
    AttendArgs args = begin(1);
    for (const CachePart& part : parts) add(args, state_of(part), 0, 1, true, part.first);
    make_room(args);
    const device_kv::UnturnedRows rows{
        step_.q.data,   step_.k.data,   step_.v.data,       step_.q.stride,
        step_.k.stride, step_.v.stride, step_.cos_sin.data, static_cast<int>(step_.cos_sin.cols)};
    dim3 each = each_row(args);
    each.x += 2;
    device::launch_early(device_kv::take_in<0>, each, dim3(kThreads), enter_shared(args), work_.main, args,
                         rows, shape_.scale, entered());
    for (const CachePart& part : parts) {
      State& s = state_of(part);
      s.seal_until(l_, s.sealed_for(l_, s.n_tokens), false);
    }
    if (reading_.exact == Exact::with_sealed) {
      args.joined = joined();
      read_few(args, reading_, work_.main);
    } else {
      read_tokens_as_coded(args);
    }
  }

  // Several tokens of one part.
  void read_prompt(State& s, const CachePart& part) {
    const ConstMatrix k = step_.k.rows_range(part.first, part.n), v = step_.v.rows_range(part.first, part.n);
    s.seal_ahead(l_, k, v);
    const std::int64_t span = reading_.sealed == Sealed::many ? kSpan : device_kv::kChunk;
    for (std::int64_t at = 0; at < part.n; at += span) {
      const std::int64_t count = std::min(span, part.n - at);
      AttendArgs args = begin(count);
      add(args, s, at, count, false, part.first + at);
      make_room(args);
      device::launch(device_kv::enter_queries<0>, each_row(args), dim3(kThreads), enter_shared(args),
                     work_.main, args, step_.q.data, step_.q.stride, shape_.scale, entered());
      // What is exact for a chunk is overwritten by the next one.
      for (std::int64_t of_span = 0; of_span < count; of_span += device_kv::kChunk) {
        take_chunk(s, l_, at + of_span, k, v);
        if (reading_.exact != Exact::with_sealed)
          read_exact(args, reading_, of_span * group_, std::min(of_span + device_kv::kChunk, count) * group_,
                     work_.main);
      }
      if (reading_.sealed == Sealed::few) read_few(args, reading_, work_.main);
      if (reading_.sealed == Sealed::many) read_many(s, args, reading_, s.n_tokens + at, count);
      if (reading_.sealed == Sealed::as_coded) read_as_coded(args);
      merge(args);
    }
  }

 private:
  AttendArgs begin(std::int64_t n) const {
    AttendArgs args{};
    args.layer = layer_.view;
    args.group = static_cast<int>(group_);
    args.rows = static_cast<int>(n * group_);
    args.sliding = shape_.sliding_window;
    return args;
  }
  // Tokens [at, at + count) of a part, the first in row `row` of the step.
  void add(AttendArgs& args, State& s, std::int64_t at, std::int64_t count, bool one,
           std::int64_t row) const {
    PartView& part = args.parts[args.n_parts++];
    part.store = store_of_chunk(s, l_, at, one);
    part.first = static_cast<int>(row);
    count_items(s, l_, reading_, s.n_tokens + at, count, one, args, part);
    args.items = std::max(args.items, part.sealed_items + part.exact_items);
  }
  void make_room(AttendArgs& args) const {
    device_kv::AttendMemory& m = work_.attention;
    const auto rows = static_cast<std::size_t>(args.pairs() * args.rows),
               d = static_cast<std::size_t>(args.layer.d);
    m.plain.reserve(rows * d);
    m.entered.reserve(rows * d);
    m.bytes.reserve(rows * static_cast<std::size_t>(device_kv::byte_stride(args.layer.d)));
    m.steps.reserve(rows);
    m.states.reserve(rows * static_cast<std::size_t>(args.items) * (d + 2));
    if (args.rows == args.group && rows > m.arrived.size()) {  // single tokens, whose launches join
      m.arrived.reserve(rows);
      device::fill_bytes(m.arrived.data(), 0, m.arrived.bytes(), work_.main);
    }
    args.plain = m.plain.data();
    args.entered = m.entered.data();
    args.bytes = m.bytes.data();
    args.steps = m.steps.data();
    args.states = m.states.data();
  }
  device_kv::EnteredQueries entered() const {
    const device_kv::AttendMemory& m = work_.attention;
    return {m.plain.data(), m.entered.data(), m.bytes.data(), m.steps.data()};
  }
  static std::size_t enter_shared(const AttendArgs& args) { return device_kv::enter_shared(args.layer.d); }
  static dim3 each_row(const AttendArgs& args) {
    return dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.pairs()));
  }
  // Which kernels read sealed blocks as they are coded.
  struct Kernels {
    bool tiles, plain;
  };
  Kernels kernels_of(AttendArgs& args) const {
    const bool some = sealed_items(args) > 0,
               tiles = layer_.some_tiles && device_kv::has_halves(args.layer.d);
    args.beside_tiles = tiles;
    return {some && tiles, some && (!tiles || layer_.some_plain)};
  }
  void read_as_coded(AttendArgs& args) const {
    const Kernels kernels = kernels_of(args);
    if (kernels.tiles) read_tiles(args, false, work_.main);
    if (kernels.plain) read_plain(args, {true, false}, work_.main);
  }
  // The same and exact tokens, in as few launches as there are kernels for them; the last one joins.
  void read_tokens_as_coded(AttendArgs& args) const {
    const Kernels kernels = kernels_of(args);
    const bool exact_plain = reading_.exact == Exact::plain,
               in_tiles = kernels.tiles && !exact_plain && tiles_take_exact(args.layer.d),
               alone = !exact_plain && !in_tiles;
    int left = (alone ? 1 : 0) + (kernels.tiles ? 1 : 0) + (kernels.plain || exact_plain ? 1 : 0);
    const auto count_down = [&] {
      if (--left == 0) args.joined = joined();
    };
    if (alone) {
      count_down();
      read_exact(args, reading_, 0, args.rows, work_.main);
    }
    if (kernels.tiles) {
      count_down();
      read_tiles(args, in_tiles, work_.main);
    }
    if (kernels.plain || exact_plain) {
      count_down();
      read_plain(args, {kernels.plain, exact_plain}, work_.main);
    }
  }
  // Where the last launch of single tokens puts what they attend to.
  device_kv::JoinedRows joined() const {
    device_kv::JoinedRows to = unjoined();
    to.arrived = work_.attention.arrived.data();
    return to;
  }
  device_kv::JoinedRows unjoined() const {
    return {step_.out.data, step_.out.stride, step_.rounded, nullptr};
  }
  void merge(AttendArgs& args) const {
    args.joined = unjoined();
    constexpr int kRows = device_kv::kJoinRows;
    device::launch_early(
        device_kv::merge_states<0>,
        dim3(static_cast<unsigned>((args.rows + kRows - 1) / kRows), static_cast<unsigned>(args.pairs())),
        dim3(kThreads), static_cast<std::size_t>(device_kv::join_floats(args.layer.d)) * sizeof(float),
        work_.main, args);
  }

  device_kv::DeviceWork& work_;
  const device_kv::DeviceLayer& layer_;
  std::size_t l_;
  const AttentionShape& shape_;
  const StepMatrices& step_;
  std::int64_t group_;
  Reading reading_;
};

}  // namespace

void take_rows(DeviceCache& cache, std::int64_t layer, ConstMatrix k, ConstMatrix v) {
  cache.state_->seal_ahead(static_cast<std::size_t>(layer), k, v);
  for (std::int64_t at = 0; at < k.rows; at += device_kv::kChunk)
    take_chunk(*cache.state_, static_cast<std::size_t>(layer), at, k, v);
}

void attend(std::span<const CachePart> parts, std::int64_t layer, const AttentionShape& shape,
            const StepMatrices& step) {
  using State = DeviceCache::State;
  const auto l = static_cast<std::size_t>(layer);
  const auto state_of = [](const CachePart& part) -> State& { return *part.cache->state_; };
  std::vector<CachePart> tokens;
  for (const CachePart& part : parts) {
    if (part.n == 1)
      tokens.push_back(part);
    else
      Reader(state_of(part), l, shape, part.n, step).read_prompt(state_of(part), part);
  }
  while (!tokens.empty()) {
    const CacheFormat& format = state_of(tokens[0]).format;
    const auto others = std::stable_partition(tokens.begin(), tokens.end(), [&](const CachePart& part) {
      return &state_of(part).format == &format;
    });
    const auto n = std::min<std::ptrdiff_t>(device_kv::kMostParts, others - tokens.begin());
    Reader(state_of(tokens[0]), l, shape, 1, step)
        .read_tokens(std::span(tokens).first(static_cast<std::size_t>(n)), state_of);
    tokens.erase(tokens.begin(), tokens.begin() + n);
  }
}

}  // namespace spectralkv
