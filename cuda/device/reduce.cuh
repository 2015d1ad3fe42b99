// Sums and maxima over a warp and over a block of threads.
#pragma once

#include "cuda/device/device.h"

namespace spectralkv::device {

inline constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float larger(float a, float b) {
  return fmaxf(a, b);
}
__device__ __forceinline__ double larger(double a, double b) {
  return a < b ? b : a;
}

struct Sum {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Larger {
  template <class T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return larger(a, b);
  }
};

// Of all 32 lanes, in every lane.
template <class Join, class T>
__device__ __forceinline__ T warp_reduce(T value) {
  for (int step = 16; step > 0; step /= 2) value = Join()(value, __shfl_xor_sync(kAllLanes, value, step));
  return value;
}
template <class T>
__device__ __forceinline__ T warp_sum(T value) {
  return warp_reduce<Sum>(value);
}
template <class T>
__device__ __forceinline__ T warp_max(T value) {
  return warp_reduce<Larger>(value);
}

// Of all threads of a block of whole warps, in every thread; all call. scratch: one value a warp, in shared
// memory, free for others only after the next barrier.
template <class Join, class T>
__device__ __forceinline__ T block_reduce(T value, T* scratch) {
  value = warp_reduce<Join>(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
  __syncthreads();
  T all = scratch[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) all = Join()(all, scratch[w]);
  return all;
}
template <class T>
__device__ __forceinline__ T block_sum(T value, T* scratch) {
  return block_reduce<Sum>(value, scratch);
}
template <class T>
__device__ __forceinline__ T block_max(T value, T* scratch) {
  return block_reduce<Larger>(value, scratch);
}

}  // namespace spectralkv::device
