// Sums and maxima over a block of threads.
#pragma once

#include "cuda/device/device.h"

namespace spectralkv::device_kv {

__device__ inline double larger(double a, double b) {
  return a < b ? b : a;
}

// The sum of every thread's value, for all. scratch: one value a warp, in shared memory. All threads call.
__device__ inline double block_sum(double value, double* scratch) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  const int warps = static_cast<int>(blockDim.x) / 32;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  double sum = 0;
  for (int w = 0; w < warps; ++w) sum += scratch[w];
  return sum;
}
__device__ inline double block_max(double value, double* scratch) {
  for (int step = 16; step > 0; step /= 2) value = larger(value, __shfl_xor_sync(0xffffffffu, value, step));
  const int warps = static_cast<int>(blockDim.x) / 32;
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  double top = scratch[0];
  for (int w = 1; w < warps; ++w) top = larger(top, scratch[w]);
  return top;
}
__device__ inline double warp_sum_double(double value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

}  // namespace spectralkv::device_kv
