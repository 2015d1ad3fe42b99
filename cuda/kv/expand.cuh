// Sealed blocks of any kind into rows of f16 in their codec's space, for attend_halves: once for all queries
// of a step.
#pragma once

#include "cuda/codecs/codecs.cuh"
#include "cuda/kv/attend.h"

namespace spectralkv::device_kv {

struct ExpandArgs {
  LayerView layer;
  StoreView store;
  std::int64_t first_block;
  std::uint16_t* rows[2];         // [blocks, heads, block, d] of K and of V
  const std::uint8_t** table[2];  // [blocks, heads]: where each begins
};

// Grid: blocks, KV heads; `which`: K or V.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    expand_blocks(const SKV_GRID_CONSTANT ExpandArgs args, int which) {
  const LayerView& layer = args.layer;
  const int d = layer.d, head = static_cast<int>(blockIdx.y);
  const std::int64_t b = args.first_block + blockIdx.x, place = blockIdx.x * std::int64_t{layer.heads} + head;
  const int n = layer.block_tokens(b);
  const SideView& side = layer.side[which];
  std::uint16_t* const to = args.rows[which] + place * layer.block * d;
  if (threadIdx.x == 0) args.table[which][place] = reinterpret_cast<const std::uint8_t*>(to);
  const RowReader reader =
      read_block(side.codec(head), args.store.side[which].blocks[b * layer.heads + head], n, d);
  expand_block(reader, device::dynamic_shared<float>(), [&](int row, int channel, const float(&x)[8]) {
    *reinterpret_cast<uint4*>(to + row * d + channel) =
        make_uint4(halves_within(x[0], x[1]), halves_within(x[2], x[3]), halves_within(x[4], x[5]),
                   halves_within(x[6], x[7]));
  });
}

}  // namespace spectralkv::device_kv
