// The k best of many values: every block sorts a stretch and keeps its best, until one stretch is left.
#pragma once

#include <cstdint>

#include "base/half.h"
#include "cuda/device/device.h"

namespace spectralkv::cuda {

inline constexpr int kBestThreads = 512, kBestStretch = 2048;  // a block sorts 16 KiB

// A value and its place as one number: the larger the better, equal values by the lower place. No value
// gives 0, which stands for nothing.
__device__ __forceinline__ std::uint64_t rank_key(float value, std::uint32_t place) {
  std::uint32_t bits = __float_as_uint(value + 0.0f);  // -0 equals 0
  bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<std::uint64_t>(bits) << 32 | static_cast<std::uint32_t>(~place);
}
// The inverse, on the host.
inline float key_value(std::uint64_t key) {
  const auto bits = static_cast<std::uint32_t>(key >> 32);
  return skv_bits_to_f32(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}
inline std::int32_t key_place(std::uint64_t key) {
  return static_cast<std::int32_t>(~static_cast<std::uint32_t>(key));
}

// Sorts kBestStretch keys in shared memory, best first (Batcher's bitonic network).
__device__ __forceinline__ void sort_keys(std::uint64_t* keys) {
  for (unsigned size = 2; size <= kBestStretch; size *= 2)
    for (unsigned step = size / 2; step > 0; step /= 2) {
      __syncthreads();
      for (unsigned i = threadIdx.x; i < kBestStretch / 2; i += kBestThreads) {
        const unsigned low = i / step * 2 * step + i % step, high = low + step;
        const bool rising = (low & size) != 0;
        const std::uint64_t a = keys[low], b = keys[high];
        if ((a < b) != rising) {
          keys[low] = b;
          keys[high] = a;
        }
      }
    }
  __syncthreads();
}

// Block b writes the k best of its stretch to out [b k, (b + 1) k). The first round reads `values` [n], and
// sets *not_finite to 1 where one is not; later ones read `keys` [n].
template <bool first>
__global__ void best_kernel(const float* values, const std::uint64_t* keys, std::int64_t n, int k,
                            std::uint64_t* out, std::uint32_t* not_finite) {
  std::uint64_t* const stretch = device::dynamic_shared<std::uint64_t>();
  const std::int64_t begin = static_cast<std::int64_t>(blockIdx.x) * kBestStretch;
  for (int i = static_cast<int>(threadIdx.x); i < kBestStretch; i += kBestThreads) {
    const std::int64_t at = begin + i;
    std::uint64_t key = 0;
    if (at < n) {
      if constexpr (first) {
        const float value = values[at];
        if ((__float_as_uint(value) & 0x7f800000u) == 0x7f800000u) *not_finite = 1;
        key = rank_key(value, static_cast<std::uint32_t>(at));
      } else {
        key = keys[at];
      }
    }
    stretch[i] = key;
  }
  sort_keys(stretch);
  for (int i = static_cast<int>(threadIdx.x); i < k; i += kBestThreads)
    out[static_cast<std::int64_t>(blockIdx.x) * k + i] = stretch[i];
}

}  // namespace spectralkv::cuda
