// The body of attend_tiles.h: sealed blocks by the tensor cores, and exact tokens of one token's queries in
// the same grid.
#pragma once

#include <algorithm>

#include "cuda/kv/attend_halves.cuh"
#include "cuda/kv/attend_tiles.cuh"
#include "cuda/kv/attend_tiles.h"

namespace spectralkv::device_kv {

// Grid: items, pairs, rows / 8. with_exact: those behind a part's sealed ones are of exact tokens in f16, and
// read as attend_halves reads them.
template <int D>
__global__ void __launch_bounds__(kThreads, 2)
    attend_tiles(const SKV_GRID_CONSTANT AttendArgs args, bool with_exact) {
  static_assert(HalvesShape<D, true>::kRows == kQueries, "both have the same rows");
  const int pair = static_cast<int>(blockIdx.y), item = static_cast<int>(blockIdx.x),
            head = args.head_of(pair);
  const PartView& part = args.part_of(pair);
  const int first_row = static_cast<int>(blockIdx.z) * kQueries, left = args.rows - first_row,
            count = left < kQueries ? left : kQueries;
  if (item < part.sealed_items) {
    if (args.layer.side[0].codec(head).tiles && args.layer.side[1].codec(head).tiles)
      read_tiles<D>(args, pair, item, first_row, count);
  } else if (with_exact && item < part.sealed_items + part.exact_items) {
    read_halves<D, true, false>(args, HalvesPart{}, pair, item, first_row, count);
  }
  join_if_last(args, pair, first_row, count, device::dynamic_shared<float>());
}

// Bytes of shared memory.
template <int D>
constexpr std::size_t tiles_shared(bool with_exact) {
  const int reading = tiles_shared_words(D), joining = join_floats(D),
            alone = 4 * (reading > joining ? reading : joining),
            exact = HalvesShape<D, true>::shared_bytes(false);
  return static_cast<std::size_t>(with_exact && exact > alone ? exact : alone);
}

template <int D>
bool tiles_take_exact() {
  // Sealed blocks have two blocks of threads to a multiprocessor, by registers.
  const std::size_t most = 2;
  const auto held = [&](bool with_exact) {
    return std::min(most,
                    device::shared_a_processor() / (tiles_shared<D>(with_exact) + device::kSharedOfABlock));
  };
  return held(true) == held(false);
}

template <int D>
void launch_tiles(const AttendArgs& args, bool with_exact, int items, device::Stream stream) {
  device::launch(attend_tiles<D>,
                 dim3(static_cast<unsigned>(items), static_cast<unsigned>(args.pairs()),
                      static_cast<unsigned>((args.rows + kQueries - 1) / kQueries)),
                 dim3(kThreads), tiles_shared<D>(with_exact), stream, args, with_exact);
}

}  // namespace spectralkv::device_kv
