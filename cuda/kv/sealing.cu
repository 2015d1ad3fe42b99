// When and where blocks are sealed: at the latest when a query reads them, else on a stream of its own as
// soon as they are complete.
#include <algorithm>

#include "cuda/kv/cache_state.h"
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

device_kv::SealArgs make_args(device_kv::SealMemory& m, const DeviceLayer& layer, std::int64_t b,
                              std::int64_t slot_bytes) {
  device_kv::SealArgs args{};
  args.layer = layer.view;
  args.index = b;
  args.n = layer.view.block_tokens(b);
  args.p = std::min(args.n, layer.view.d);
  args.longer = std::max(args.n, layer.view.d);
  args.slot_bytes = slot_bytes;
  const std::int64_t items = 2 * layer.view.heads, block = layer.view.block, d = layer.view.d;
  const std::int64_t shorter = std::min(block, d), longer = std::max(block, d);
  m.rows.reserve(size_of(items * block * d));
  m.exponents.reserve(size_of(items));
  m.gram.reserve(size_of(items * shorter * shorter));
  m.eigenvalues.reserve(size_of(items * shorter));
  m.ranks.reserve(size_of(items));
  m.phi.reserve(size_of(items * kMostRank));
  m.allowed.reserve(size_of(items));
  m.long_vectors.reserve(size_of(items * kMostRank * longer));
  m.factors.reserve(size_of(items * 2 * kMostRank * (longer + 16)));
  m.factor_codes.reserve(size_of(items * 2 * kMostRank * (longer + 16)));
  m.codes.reserve(size_of(items * block * d));
  m.slots.reserve(size_of(items * slot_bytes));
  m.used.reserve(size_of(items));
  m.drawn.reserve(size_of(layer.view.heads * (1 + DrawnRows::kMost)));
  m.logits.reserve(size_of(layer.view.heads * 2 * block));
  m.kept.reserve(size_of(items * DrawnRows::kMost * d));
  m.second_codes.reserve(size_of(items * DrawnRows::kMost * d));
  args.rows = m.rows.data();
  args.exponents = m.exponents.data();
  args.gram = m.gram.data();
  args.eigenvalues = m.eigenvalues.data();
  args.ranks = m.ranks.data();
  args.phi = m.phi.data();
  args.allowed = m.allowed.data();
  args.long_vectors = m.long_vectors.data();
  args.factors = m.factors.data();
  args.factor_codes = m.factor_codes.data();
  args.codes = m.codes.data();
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

void DeviceCache::State::seal_until(std::size_t l, std::int64_t count, device::Stream stream) {
  DeviceLayer& layer = layers[l];
  // Another sequence of the step may have begun since `prepare`: the memory is that of all.
  if (layer.sealed < count && stream != work.sealing) work.wait_for_sealing(stream);
  for (; layer.sealed < count; ++layer.sealed) {
    std::int64_t slot_bytes = 0;
    for (int which = 0; which < 2; ++which) {
      const std::int64_t most = type_side(l, which).max_bytes(layer.view.block);
      slot_bytes = std::max(slot_bytes, (most + 15) / 16 * 16);
      DeviceSide& side = layer.side[which];
      const auto moved = side.pages.make_room(
          static_cast<std::uint64_t>(layer.view.heads * (most + 16)),
          [&] { return side.cursor.read_one(0, stream); }, work.page_bytes);
      if (moved) side.write_cursor(*moved, stream);
    }
    const device_kv::SealArgs args = make_args(work.seal, layer, layer.sealed, slot_bytes);
    const auto heads = static_cast<unsigned>(layer.view.heads), items = 2 * heads,
               d = static_cast<unsigned>(args.layer.d);
    const std::size_t doubles = kWarps * sizeof(double);
    device::launch(device_kv::seal_rows<0>, dim3(items), dim3(kThreads), doubles + d * sizeof(float), stream,
                   args);
    // What heads have in common.
    const device_kv::CodecView *const k = layer.view.side[0].codecs, *const v = layer.view.side[1].codecs;
    if (layer.view.queries != nullptr && (k->second_rows > 0 || v->second_rows > 0))
      device::launch(device_kv::seal_drawn<0>, dim3(heads), dim3(kThreads), doubles, stream, args);
    const bool factor[2] = {k->window > 0, v->window > 0};
    if (factor[0] || factor[1]) {
      device::launch(device_kv::seal_gram<0>, dim3(items), dim3(device_kv::kGramThreads), 0, stream, args);
      const unsigned first = factor[0] ? 0 : heads, some = factor[0] && factor[1] ? items : heads;
      work.eigen.solve(args.gram + size_of(std::int64_t{first} * args.p * args.p),
                       args.eigenvalues + first * static_cast<unsigned>(args.p), static_cast<int>(some),
                       args.p, stream);
    }
    device::launch(device_kv::seal_spectrum<0>, dim3(items), dim3(kThreads),
                   doubles + static_cast<std::size_t>(args.p) * sizeof(double), stream, args);
    if (factor[0] || factor[1])
      device::launch(device_kv::seal_vectors<0>, dim3(items), dim3(kThreads), doubles, stream, args);
    device::launch(device_kv::seal_encode<0>, dim3(items), dim3(kThreads),
                   doubles + kMostRank * sizeof(device_kv::CodedComponent), stream, args);
    device::launch(device_kv::seal_place<0>, dim3(2), dim3(kThreads), 0, stream, args);
  }
}

void DeviceCache::State::seal_complete() {
  const auto complete = [this](std::size_t l) { return type(l).layout.complete_blocks(n_tokens); };
  bool any = false;
  for (std::size_t l = 0; l < layers.size(); ++l) any |= layers[l].sealed < complete(l);
  if (!any) return;
  work.appended.record(work.main);
  work.appended.make_wait(work.sealing);
  for (std::size_t l = 0; l < layers.size(); ++l) seal_until(l, complete(l), work.sealing);
  work.sealed.record(work.sealing);
  work.seal_pending = true;
}

}  // namespace spectralkv
