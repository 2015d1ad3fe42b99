// One layer's attention: which kernels run over which pieces of the context.
#include <algorithm>
#include <bit>
#include <cassert>

#include "cuda/kv/attend_ends.cuh"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/attend_tiles.h"
#include "cuda/kv/cache_state.h"
#include "cuda/kv/take_in.cuh"

namespace spectralkv {
namespace {

using device_kv::AttendArgs;
using device_kv::kThreads;
using device_kv::kWarps;

constexpr int kMostRows = 8;  // query rows that read the context together

template <int G, bool exact>
void launch_plain(const AttendArgs& args, device::Stream stream) {
  const auto items = static_cast<unsigned>(exact ? args.exact_items : args.sealed_items);
  device::launch(
      device_kv::attend_plain<G, exact>,
      dim3(items, static_cast<unsigned>(args.layer.heads), static_cast<unsigned>((args.rows + G - 1) / G)),
      dim3(kThreads), static_cast<std::size_t>(device_kv::plain_shared_floats(G, args.layer.d)) * 4, stream,
      args);
}

template <bool exact>
void read_plain(const AttendArgs& args, device::Stream stream) {
  if (args.rows == 1) return launch_plain<1, exact>(args, stream);
  if (args.rows <= 4) return launch_plain<4, exact>(args, stream);
  launch_plain<kMostRows, exact>(args, stream);
}

// Sealed blocks by the tensor cores, of heads both sides of which are of that kind. False: not at this head
// dim.
bool read_tiles(const AttendArgs& args, device::Stream stream) {
  switch (args.layer.d) {
    case 64:
      return device_kv::launch_tiles<64>(args, stream);
    case 80:
      return device_kv::launch_tiles<80>(args, stream);
    case 96:
      return device_kv::launch_tiles<96>(args, stream);
    case 112:
      return device_kv::launch_tiles<112>(args, stream);
    case 128:
      return device_kv::launch_tiles<128>(args, stream);
    case 256:
      return device_kv::launch_tiles<256>(args, stream);
  }
  return false;
}

template <class State>
device_kv::LayerView view_of_chunk(State& s, std::size_t l, std::int64_t at) {
  device_kv::LayerView view = s.layers[l].view;
  view.position = s.positions.data() + at / device_kv::kChunk;
  return view;
}

// Tokens [at, at + kChunk) of a step into layer l, and the blocks that their queries read as sealed.
template <class State>
device_kv::LayerView take_chunk(State& s, std::size_t l, std::int64_t at, ConstMatrix k, ConstMatrix v) {
  const device::Stream stream = s.work.main;
  const std::int64_t count = std::min(device_kv::kChunk, k.rows - at);
  const device_kv::LayerView view = view_of_chunk(s, l, at);
  if (k.rows > 1) s.wait_for_sealing(l);
  device::launch(device_kv::append_rows<0>, dim3(static_cast<unsigned>(count), 2), dim3(kThreads), 0, stream,
                 view, k.data + at * k.stride, k.stride, v.data + at * v.stride, v.stride);
  s.seal_until(l, s.sealed_for(l, s.n_tokens + at + count - 1), false);
  return view;
}

}  // namespace

void take_rows(DeviceCache& cache, std::int64_t layer, ConstMatrix k, ConstMatrix v) {
  cache.state_->seal_ahead(static_cast<std::size_t>(layer), k, v);
  for (std::int64_t at = 0; at < k.rows; at += device_kv::kChunk)
    take_chunk(*cache.state_, static_cast<std::size_t>(layer), at, k, v);
}

void attend(DeviceCache& cache, std::int64_t layer_index, const AttentionShape& shape, ConstMatrix q,
            ConstMatrix k, ConstMatrix v, Matrix out, ConstMatrix cos_sin, const cuda::QuantRows& rounded) {
  DeviceCache::State& s = *cache.state_;
  device_kv::AttendMemory& m = s.work.attention;
  const device::Stream stream = s.work.main;
  const auto l = static_cast<std::size_t>(layer_index);
  const std::int64_t d = s.format.shape().head_dim, heads = s.format.shape().n_kv_heads, n = q.rows;
  assert(k.rows == n && v.rows == n && out.rows == n && q.cols == shape.n_heads * d && k.cols == heads * d);
  s.seal_ahead(l, k, v);
  for (std::int64_t at = 0; at < n; at += device_kv::kChunk) {
    const std::int64_t count = std::min(device_kv::kChunk, n - at), first = s.n_tokens + at;
    AttendArgs args{};
    const bool turns = cos_sin.data != nullptr;
    if (turns) s.seal_until(l, s.sealed_for(l, first), false);
    args.layer = turns ? view_of_chunk(s, l, 0) : take_chunk(s, l, at, k, v);
    args.group = static_cast<int>(shape.n_heads / heads);
    args.rows = static_cast<int>(count) * args.group;
    args.sliding = shape.sliding_window;
    // Enough blocks of threads for the device; for one token a number that does not change as the context
    // grows, so that the launches can be replayed.
    const std::int64_t side_by_side = heads * ((args.rows + kMostRows - 1) / kMostRows);
    const std::int64_t most = std::max<std::int64_t>(1, 4 * device::multiprocessors() / side_by_side);
    const auto& view = args.layer;
    const std::int64_t blocks = n == 1 ? s.n_ctx / view.block : s.sealed_for(l, first + count - 1);
    const std::int64_t pieces =
        ((view.block + 31) / 32) * (view.window / view.block + 1 + (count + view.block - 1) / view.block) + 1;
    args.sealed_items = static_cast<int>(std::min(most, (blocks + kWarps - 1) / kWarps));
    args.exact_items =
        static_cast<int>(std::max<std::int64_t>(1, std::min(most, (pieces + kWarps - 1) / kWarps)));

    const auto rows = static_cast<std::size_t>(heads * args.rows);
    m.plain.reserve(rows * static_cast<std::size_t>(d));
    m.entered.reserve(rows * static_cast<std::size_t>(d));
    m.bytes.reserve(rows * static_cast<std::size_t>(device_kv::byte_stride(static_cast<int>(d))));
    m.steps.reserve(rows);
    m.states.reserve(rows * static_cast<std::size_t>((args.sealed_items + args.exact_items) * (d + 2)));
    args.plain = m.plain.data();
    args.entered = m.entered.data();
    args.bytes = m.bytes.data();
    args.steps = m.steps.data();
    args.states = m.states.data();
    const dim3 each_row(static_cast<unsigned>(args.rows), static_cast<unsigned>(heads));
    const auto floats = static_cast<std::size_t>(d) * sizeof(float);
    const device_kv::EnteredQueries entered{m.plain.data(), m.entered.data(), m.bytes.data(), m.steps.data()};
    const std::size_t entering = device_kv::enter_shared(static_cast<int>(d));
    if (turns) {
      const device_kv::UnturnedRows unturned{q.data, k.data, v.data, cos_sin.data,
                                             static_cast<int>(cos_sin.cols)};
      device::launch_early(device_kv::take_in<0>, dim3(each_row.x + 2, each_row.y), dim3(kThreads), entering,
                           stream, args, unturned, shape.scale, entered);
    } else {
      device::launch(device_kv::enter_queries<0>, each_row, dim3(kThreads), entering, stream, args,
                     q.data + at * q.stride, q.stride, shape.scale, entered);
    }
    if (args.sealed_items > 0) {
      args.beside_tiles = s.layers[l].some_tiles && read_tiles(args, stream);
      if (!args.beside_tiles || s.layers[l].some_plain) read_plain<false>(args, stream);
    }
    read_plain<true>(args, stream);
    device::launch_early(device_kv::merge_states<0>, each_row, dim3(kThreads), 3 * floats, stream, args,
                         out.data + at * out.stride, out.stride, rounded);
  }
}

}  // namespace spectralkv
