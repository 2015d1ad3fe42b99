// The low-rank part of a block as two thin products in f16: along the factors, and back. What multiplies a
// factor's levels is split into two f16 numbers, and scaled into their range.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/tiles.cuh"

namespace spectralkv::device_kv {

// A factor's rows: rank rows of `bits`-bit codes in planes (formats/bitpack.h), row_bytes apart.
struct FactorRows {
  const std::uint8_t* codes;
  int row_bytes, length, bits, rank;
  const std::uint16_t* levels;  // f16, in shared memory
};

// Four codes from a multiple of 4 on, a byte each.
__device__ inline std::uint32_t four_codes(const FactorRows& rows, int rank, int first) {
  const std::uint8_t* plane = rows.codes + rank * rows.row_bytes;
  std::uint32_t out = 0;
  for (int low = 0; low < rows.bits;) {
    const int width = skv_plane_width(rows.bits, low), at = first * width / 8;
    std::uint32_t word = __ldg(plane + at);
    if (width >= 4) word |= static_cast<std::uint32_t>(__ldg(plane + at + 1)) << 8;
    if (width == 8)
      word |= static_cast<std::uint32_t>(__ldg(plane + at + 2)) << 16 |
              static_cast<std::uint32_t>(__ldg(plane + at + 3)) << 24;
    if (width == 1) word >>= first % 8;
    const std::uint32_t mask = (1u << width) - 1u;
    SKV_UNROLL
    for (int i = 0; i < 4; ++i) out |= (word >> i * width & mask) << (8 * i + low);
    plane += rows.length * width / 8;
    low += width;
  }
  return out;
}

__device__ __forceinline__ std::uint32_t level_of(const FactorRows& rows, std::uint32_t codes, int i) {
  return rows.levels[codes >> 8 * i & 255u];
}

// x = high + low to 2^-22 of x.
struct SplitPair {
  std::uint32_t high, low;
  __device__ __forceinline__ SplitPair(float a, float b) {
    high = device::f32x2_to_f16x2(a, b);
    const float2 rounded = device::f16x2_to_f32x2(high);
    low = device::f32x2_to_f16x2(a - rounded.x, b - rounded.y);
  }
};

// along [16, 8] = factor rows [rank, length] times x: numbers(first) gives this lane's four of its query,
// from place `first` on, as two pairs. Lane 4 g + t holds of along what mma_f16 leaves there.
template <class Numbers>
__device__ inline void project(const FactorRows& rows, const Numbers& numbers, float (&along)[4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  for (float& value : along) value = 0;
  SKV_UNROLL_NOT
  for (int first = 4 * t; first < rows.length; first += 16) {
    std::uint32_t a[4] = {};
    SKV_UNROLL
    for (int half = 0; half < 2; ++half)
      if (g + 8 * half < rows.rank) {
        const std::uint32_t codes = four_codes(rows, g + 8 * half, first);
        a[half] = level_of(rows, codes, 0) | level_of(rows, codes, 1) << 16;
        a[half + 2] = level_of(rows, codes, 2) | level_of(rows, codes, 3) << 16;
      }
    SplitPair pairs[2] = {{0, 0}, {0, 0}};
    numbers(first, pairs);
    const std::uint32_t high[2] = {pairs[0].high, pairs[1].high}, low[2] = {pairs[0].low, pairs[1].low};
    device::mma_f16(along, a, high);
    device::mma_f16(along, a, low);
  }
}

// `along` times the weights (f16, times unit), turned so that it can be multiplied by rows of the other
// factor. scratch: [16, 9] floats of this warp.
struct Turned {
  std::uint32_t high[2], low[2];
  float scale;  // what 1 stands for
  __device__ inline Turned(const float (&along)[4], const std::uint16_t* weights, int rank, float unit,
                           float* scratch) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    float value[4], top = 0;
    for (int i = 0; i < 4; ++i) {
      const int r = g + i / 2 * 8;
      value[i] = r < rank ? along[i] * (device::f16_to_f32(weights[r]) * unit) : 0;
      top = fmaxf(top, fabsf(value[i]));
    }
    top = warp_max(top);
    scale = top > 1e-30f ? top / 1024 : 1;
    const float inverse = 1 / scale;
    for (int i = 0; i < 4; ++i) scratch[(g + i / 2 * 8) * 9 + 2 * t + i % 2] = value[i] * inverse;
    __syncwarp();
    for (int half = 0; half < 2; ++half) {
      const float* const at = scratch + (2 * t + 8 * half) * 9 + g;
      const SplitPair pair(at[0], at[9]);
      high[half] = pair.high;
      low[half] = pair.low;
    }
    __syncwarp();
  }
};

// The products 4 pair + m, pair = 0 and 1, of the other factor's rows [length, rank] with `turned`:
// sums[pair], still to be scaled. first: this lane's sixteen of rows.
__device__ inline void expand_factor(const FactorRows& rows, const Turned& turned, int first, int m,
                                     float (&sums)[2][4]) {
  const int t = static_cast<int>(threadIdx.x) % 4;
  std::uint32_t a[2][4] = {};
  SKV_UNROLL
  for (int half = 0; half < 2; ++half) {
    SKV_UNROLL
    for (int beside = 0; beside < 2; ++beside) {
      const int r = 2 * t + 8 * half + beside;
      if (r >= rows.rank || first >= rows.length) continue;
      const std::uint32_t codes = four_codes(rows, r, first + 4 * m);
      SKV_UNROLL
      for (int i = 0; i < 4; ++i) a[i / 2][2 * half + i % 2] |= level_of(rows, codes, i) << 16 * beside;
    }
  }
  SKV_UNROLL
  for (int pair = 0; pair < 2; ++pair) {
    for (float& value : sums[pair]) value = 0;
    device::mma_f16(sums[pair], a[pair], turned.high);
    device::mma_f16(sums[pair], a[pair], turned.low);
  }
}

}  // namespace spectralkv::device_kv
