// What stands behind attention: the merging of states, and values out of codec space.
#pragma once

#include "cuda/kv/attend.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/ops/activations.cuh"

namespace spectralkv::device_kv {

// out[c] = sum over j of x[j] matrix[j, c], for this thread's channels. x in shared memory.
template <class Store>
__device__ inline void rotate_row(const float* x, const float* matrix, int d, const Store& store) {
  for (int c = static_cast<int>(threadIdx.x); c < d; c += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int j = 0; j < d; ++j) sum += x[j] * matrix[j * d + c];
    store(c, sum);
  }
}

// out[c] = sum over items [begin, end) of the states' outputs, relative to `top`; returns the sum of
// probabilities.
__device__ inline float merge_items(const AttendArgs& args, int pair, int row, int begin, int end, float top,
                                    float* out) {
  const int d = args.layer.d;
  for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) {
    float sum = 0;
    for (int item = begin; item < end; ++item) {
      const float* const state = args.states + args.state_at(pair, item, row);
      if (state[0] > -INFINITY) sum += state[2 + c] * device::fast_exp(state[0] - top);
    }
    out[c] = sum;
  }
  float total = 0;
  for (int item = begin; item < end; ++item) {
    const float* const state = args.states + args.state_at(pair, item, row);
    if (state[0] > -INFINITY) total += state[1] * device::fast_exp(state[0] - top);
  }
  return total;
}

// out: [tokens of the step, heads * group * d], rows ldo apart. Where `rounded` has memory, also in 8 bits; d
// is a multiple of 32 then, and ldo is what rows have. Grid: rows, pairs.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) merge_states(const SKV_GRID_CONSTANT AttendArgs args, float* out,
                                                         std::int64_t ldo, cuda::QuantRows rounded) {
  device::wait_for_earlier();
  device::let_next_start();
  const int d = args.layer.d, row = static_cast<int>(blockIdx.x), pair = static_cast<int>(blockIdx.y),
            head = args.head_of(pair);
  const PartView& part = args.part_of(pair);
  const int items = part.sealed_items + part.exact_items;
  float* const sealed = device::dynamic_shared<float>();  // [d], [d] left codec space, [d]
  float* const left = sealed + d;
  float* const exact = left + d;
  float top = -INFINITY;
  for (int item = 0; item < items; ++item) top = fmaxf(top, args.states[args.state_at(pair, item, row)]);
  const float sealed_sum = merge_items(args, pair, row, 0, part.sealed_items, top, sealed);
  const float sum = sealed_sum + merge_items(args, pair, row, part.sealed_items, items, top, exact);
  __syncthreads();
  const float* const matrix = args.layer.side[1].leave.of(head);
  if (matrix != nullptr && sealed_sum > 0) {
    rotate_row(sealed, matrix, d, [&](int c, float value) { left[c] = value; });
  } else {
    for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) left[c] = sealed[c];
  }
  const std::int64_t at = (part.first + row / args.group) * ldo + (head * args.group + row % args.group) * d;
  for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) {
    const float value = (left[c] + exact[c]) / sum;
    out[at + c] = value;
    if (rounded.codes != nullptr) cuda::put_quantised(value, (at + c) / 32 * 32, rounded);
  }
}

}  // namespace spectralkv::device_kv
