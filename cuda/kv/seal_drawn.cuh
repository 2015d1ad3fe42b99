// Which rows of a block draw attention: kv/drawn_rows.h on a device, with its arithmetic.
#pragma once

#include <cstring>

#include "cuda/device/reduce.cuh"
#include "cuda/kv/seal_rows.cuh"

namespace spectralkv::device_kv {

// Numbers as whole ones in the same order, and back.
__device__ __forceinline__ std::uint64_t ordered(double x) {
  std::uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits >> 63 != 0 ? ~bits : bits | std::uint64_t{1} << 63;
}
__device__ __forceinline__ double from_ordered(std::uint64_t bits) {
  bits = bits >> 63 != 0 ? bits ^ std::uint64_t{1} << 63 : ~bits;
  double x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

// The number at place n / 2 of values [n] when they rise, bit by bit: the largest that at most n / 2 of them
// are below. Each thread has written the values that it reads. All threads of a block call, all get it.
__device__ inline double middle_of(const double* values, int n, int* scratch) {
  std::uint64_t middle = 0;
  for (int bit = 63; bit >= 0; --bit) {
    const std::uint64_t next = middle | std::uint64_t{1} << bit;
    int below = 0;
    for (int t = static_cast<int>(threadIdx.x); t < n; t += kThreads) below += ordered(values[t]) < next;
    if (device::block_sum(below, scratch) <= n / 2) middle = next;
  }
  return from_ordered(middle);
}

// <query, row of keys>, in the order of dot_in_double (quant/row_math.h).
__device__ inline double logit_of(const SealArgs& args, int item, int token, const float* query) {
  double sum[4] = {};
  for (int c = 0; c < args.layer.d; c += 4) {
    SKV_UNROLL
    for (int i = 0; i < 4; ++i)
      sum[i] +=
          static_cast<double>(query[c + i]) * static_cast<double>(exact_value(args, item, token, c + i));
  }
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Fills drawn. Grid: KV heads of each block. Shared: doubles [kWarps].
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_drawn(const SKV_GRID_CONSTANT SealArgs args) {
  const LayerView& layer = args.layer;
  const int number = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x), n = args.n;
  const int head = number % layer.heads, item = (number / layer.heads * 2) * layer.heads + head;  // its keys
  double* const scratch = device::dynamic_shared<double>();
  double* const logits = args.logits + number * 2 * layer.block;
  double* const excess = logits + layer.block;  // of the query that looks at a row most
  for (int g = 0; g < layer.group; ++g) {
    const float* const query = layer.queries + (static_cast<std::int64_t>(head) * layer.group + g) * layer.d;
    for (int t = thread; t < n; t += kThreads) logits[t] = logit_of(args, item, t, query);
    const double middle = middle_of(logits, n, reinterpret_cast<int*>(scratch));
    for (int t = thread; t < n; t += kThreads)
      excess[t] = g == 0 ? logits[t] - middle : device::larger(excess[t], logits[t] - middle);
  }
  std::uint16_t* const drawn = args.drawn_of(item);
  int count = 0;
  for (; count < DrawnRows::kMost; ++count) {
    double top = DrawnRows::kAbove;
    for (int t = thread; t < n; t += kThreads) top = device::larger(top, excess[t]);
    top = device::block_max(top, scratch);
    if (!(top > DrawnRows::kAbove)) break;
    double first = 0;  // of several that are equal: rising with an earlier place
    for (int t = thread; t < n; t += kThreads)
      if (excess[t] == top && first == 0) first = n - t;
    const int t = n - static_cast<int>(device::block_max(first, scratch));
    if (t % kThreads == thread) excess[t] = 0;
    if (thread == 0) drawn[1 + count] = static_cast<std::uint16_t>(t);
  }
  if (thread == 0) drawn[0] = static_cast<std::uint16_t>(count);
}

}  // namespace spectralkv::device_kv
