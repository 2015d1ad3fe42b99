// When and where blocks are sealed: at the latest when a query reads them, else on a stream of its own as
// soon as they are complete.
#include <algorithm>

#include "cuda/kv/cache_state.h"
#include "cuda/kv/eigen.cuh"
#include "cuda/kv/seal_drawn.cuh"
#include "cuda/kv/seal_encode.cuh"
#include "cuda/kv/seal_rows.cuh"
#include "kv/codecs/shared_tables.h"

namespace spectralkv {

using device_kv::DeviceLayer;
using device_kv::DeviceSide;
using device_kv::kMostRank;
using device_kv::kThreads;
using device_kv::kWarps;

namespace {

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// blocks: how many from layer.sealed on, all of as many tokens.
device_kv::SealArgs make_args(device_kv::SealMemory& m, const DeviceLayer& layer, std::int64_t blocks,
                              std::int64_t slot_bytes) {
  const std::int64_t b = layer.sealed;
  device_kv::SealArgs args{};
  args.layer = layer.view;
  args.store = layer.store;
  args.index = b;
  args.n = layer.view.block_tokens(b);
  args.p = std::min(args.n, layer.view.d);
  args.longer = std::max(args.n, layer.view.d);
  args.column = (args.longer + 15) / 16 * 16;
  args.codes_apart = layer.view.d * ((args.n + 15) / 16 * 16);
  args.slot_bytes = slot_bytes;
  const std::int64_t items = 2 * blocks * layer.view.heads, block = layer.view.block, d = layer.view.d;
  const std::int64_t shorter = std::min(block, d), longer = std::max(block, d);
  m.rows.reserve(size_of(items * block * d));
  m.exponents.reserve(size_of(items));
  m.gram.reserve(size_of(items * shorter * shorter));
  m.eigenvalues.reserve(size_of(items * shorter));
  m.tridiagonal.reserve(size_of(items * 3 * shorter));
  m.eigen_work.reserve(size_of(items * 3 * shorter * kMostRank));
  m.vectors.reserve(size_of(items * kMostRank * shorter));
  m.ranks.reserve(size_of(items));
  m.phi.reserve(size_of(items * kMostRank));
  m.allowed.reserve(size_of(items));
  m.long_vectors.reserve(size_of(items * kMostRank * longer));
  m.factors.reserve(size_of(items * 2 * kMostRank * (longer + 16)));
  m.factor_codes.reserve(size_of(items * 2 * kMostRank * (longer + 16)));
  m.codes.reserve(size_of(items * (block + 16) * d));
  m.to_points.reserve(size_of(items * block));
  m.slots.reserve(size_of(items * slot_bytes));
  m.used.reserve(size_of(items));
  m.drawn.reserve(size_of(items / 2 * (1 + DrawnRows::kMost)));
  m.logits.reserve(size_of(items * block));
  m.kept.reserve(size_of(items * DrawnRows::kMost * d));
  m.second_codes.reserve(size_of(items * DrawnRows::kMost * d));
  args.rows = m.rows.data();
  args.exponents = m.exponents.data();
  args.gram = m.gram.data();
  args.eigenvalues = m.eigenvalues.data();
  args.vectors = m.vectors.data();
  args.ranks = m.ranks.data();
  args.phi = m.phi.data();
  args.allowed = m.allowed.data();
  args.long_vectors = m.long_vectors.data();
  args.factors = m.factors.data();
  args.factor_codes = m.factor_codes.data();
  args.codes = m.codes.data();
  args.to_points = m.to_points.data();
  args.slots = m.slots.data();
  args.used = m.used.data();
  args.drawn = m.drawn.data();
  args.logits = m.logits.data();
  args.kept = m.kept.data();
  args.second_codes = m.second_codes.data();
  for (int width = 1; width < kSkvWholeWidth; ++width)
    args.distortion[width] = shared_gaussian_codebook(width).distortion;
  return args;
}

}  // namespace

void DeviceCache::State::encode_blocks(std::size_t l, const device_kv::SealArgs& args, std::int64_t blocks,
                                       device_kv::SealMemory& memory, device::Stream stream) {
  const DeviceLayer& layer = layers[l];
  const auto heads = static_cast<unsigned>(layer.view.heads), count = static_cast<unsigned>(blocks),
             items = 2 * count * heads, d = static_cast<unsigned>(args.layer.d);
  const std::size_t doubles = kWarps * sizeof(double);
  device::launch(device_kv::seal_rows<0>, dim3(items), dim3(kThreads), doubles + d * sizeof(float), stream,
                 args);
  // What heads have in common.
  const device_kv::CodecView *const k = layer.view.side[0].codecs, *const v = layer.view.side[1].codecs;
  if (layer.view.queries != nullptr && (k->second_rows > 0 || v->second_rows > 0))
    device::launch(device_kv::seal_drawn<0>, dim3(count * heads), dim3(kThreads), doubles, stream, args);
  const bool factor[2] = {k->window > 0, v->window > 0};
  // Where one side alone has low-rank parts, its items are half of all.
  const unsigned run = factor[0] && factor[1] ? 2 * heads : heads, some = count * run;
  const device_kv::EigenArgs eigen{args.p,
                                   args.gram,
                                   args.eigenvalues,
                                   memory.tridiagonal.data(),
                                   memory.eigen_work.data(),
                                   args.vectors,
                                   factor[0] ? 0 : static_cast<int>(heads),
                                   static_cast<int>(run),
                                   static_cast<int>(2 * heads)};
  if (factor[0] || factor[1]) {
    device::launch(device_kv::seal_gram<0>, dim3(items), dim3(device_kv::kGramThreads), 0, stream, args);
    device::launch(device_kv::eigen_values<0>, dim3(some), dim3(device_kv::kEigenThreads),
                   size_of(device_kv::eigen_values_shared(args.p)) * sizeof(double), stream, eigen);
  }
  device::launch(device_kv::seal_spectrum<0>, dim3(items), dim3(kThreads),
                 doubles + static_cast<std::size_t>(args.p) * sizeof(double), stream, args);
  if (factor[0] || factor[1]) {
    device::launch(device_kv::eigen_vectors<0>, dim3(some), dim3(device_kv::kEigenThreads),
                   size_of(device_kv::eigen_vectors_shared(args.p)) * sizeof(double), stream, eigen,
                   args.ranks);
    device::launch(device_kv::seal_vectors<0>, dim3(items), dim3(kThreads), doubles, stream, args);
  }
  const std::size_t encoding = doubles + kMostRank * sizeof(device_kv::CodedComponent);
  if (layer.searches) {
    const auto rows = static_cast<unsigned>(args.longer), bytes = static_cast<unsigned>(search_bytes(args));
    const unsigned warps = bytes * kWarps > 48 * 1024 ? 1 : kWarps;
    device::launch(device_kv::seal_prepare<0>, dim3(items), dim3(kThreads), encoding, stream, args);
    device::launch(device_kv::seal_search<0>, dim3(items, (rows + warps - 1) / warps), dim3(32 * warps),
                   warps * bytes, stream, args);
  }
  device::launch(device_kv::seal_encode<0>, dim3(items), dim3(kThreads), encoding, stream, args);
}

void DeviceCache::State::seal_until(std::size_t l, std::int64_t count, bool beside,
                                    const device_kv::FreshRows& fresh) {
  DeviceLayer& layer = layers[l];
  if (layer.sealed >= count) return;
  if (!beside) wait_for_sealing(l);
  const device::Stream stream = beside ? work.sealing : work.main;
  device_kv::SealMemory& memory = beside ? work.seal_beside : work.seal_main;
  std::int64_t most[2] = {}, slot_bytes = 0;
  for (int which = 0; which < 2; ++which) {
    most[which] = type_side(l, which).max_bytes(layer.view.block);
    slot_bytes = std::max(slot_bytes, (most[which] + 15) / 16 * 16);
  }
  const std::int64_t at_once = std::max(1, device_kv::kSealAtOnce / (2 * layer.view.heads));
  while (layer.sealed < count) {
    std::int64_t blocks = 1;
    while (blocks < std::min(at_once, count - layer.sealed) &&
           layer.view.block_tokens(layer.sealed + blocks) == layer.view.block_tokens(layer.sealed))
      ++blocks;
    device_kv::SealArgs args = make_args(memory, layer, blocks, slot_bytes);
    args.fresh = fresh;
    encode_blocks(l, args, blocks, memory, stream);
    for (std::int64_t b = 0; b < blocks; ++b) {
      for (int which = 0; which < 2; ++which) {
        DeviceSide& side = layer.side[which];
        // While decoding, the sealing before was long ago: nobody waits here then.
        const auto moved = side.pages.make_room(
            static_cast<std::uint64_t>(layer.view.heads * (most[which] + 16)),
            [&] { return layer.newest.synchronize(), side.seen_cursor[0]; }, work.pages);
        if (!moved) continue;
        layer.newest.synchronize();  // the cursor that the device got before has been copied
        side.next_cursor[0] = *moved;
        side.cursor.write(side.next_cursor.first(1), stream);
      }
      device::launch(device_kv::seal_place<0>, dim3(2), dim3(kThreads), 0, stream, args, static_cast<int>(b));
      for (DeviceSide& side : layer.side) side.cursor.read(side.seen_cursor.first(1), stream);
      layer.newest.record(stream);
    }
    layer.sealed += blocks;
  }
  layer.pending = beside;
}

void DeviceCache::State::seal_ahead(std::size_t l, ConstMatrix k, ConstMatrix v) {
  if (k.rows == 1) return;  // what it reads as sealed was complete before it came
  wait_for_sealing(l);
  seal_until(l, sealed_for(l, n_tokens + k.rows - 1), false,
             {{k.data, v.data}, {k.stride, v.stride}, n_tokens});
}

void DeviceCache::State::seal_complete() {
  // Layer by layer within three quarters of the tokens that a complete block waits for its first reader.
  const auto due = [this](std::size_t l) {
    const CacheLayout& layout = type(l).layout;
    const std::int64_t spread = 3 * std::min(layout.window, layout.block) / 4,
                       after = spread * static_cast<std::int64_t>(l) / std::ssize(layers);
    return layout.complete_blocks(std::max<std::int64_t>(0, n_tokens - after));
  };
  bool any = false;
  for (std::size_t l = 0; l < layers.size(); ++l) any |= layers[l].sealed < due(l);
  if (!any) return;
  work.appended.record(work.main);
  work.appended.make_wait(work.sealing);
  for (std::size_t l = 0; l < layers.size(); ++l) seal_until(l, due(l), true);
}

}  // namespace spectralkv
