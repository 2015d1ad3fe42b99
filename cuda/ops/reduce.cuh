// Sums and maxima over a warp and over a block.
#pragma once

#include "cuda/device/device.h"

namespace spectralkv::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// Of all 32 lanes, in every lane.
__device__ __forceinline__ float warp_sum(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}
__device__ __forceinline__ float warp_max(float value) {
  for (int step = 16; step > 0; step /= 2) value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}

// Of all threads of a block of whole warps, in every thread. part: [32] in shared memory, free for others
// only after the next barrier.
__device__ __forceinline__ float block_sum(float value, float* part) {
  value = warp_sum(value);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0;
  for (unsigned w = 0; w < blockDim.x / 32; ++w) sum += part[w];
  return sum;
}

}  // namespace spectralkv::cuda
