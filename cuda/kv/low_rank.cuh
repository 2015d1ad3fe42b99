// The low-rank part of a block as two thin products in f16: along the factors, and back. Eight ranks at a
// time. A byte of two 4-bit factor codes selects a pair of f16 levels in shared memory, and such a pair is a
// register of an operand as it stands: nothing is staged, and no lane looks a code up that another one has.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/tiles.cuh"

namespace spectralkv::device_kv {

constexpr int kFactorPairs = 256;  // a table's
constexpr int kRanks = 8;          // that are multiplied together

// A factor's rows: rank rows of codes in planes (formats/bitpack.h), row_bytes apart; length: a multiple
// of 16.
struct FactorRows {
  const std::uint8_t* codes;
  int row_bytes, length, bits, rank;  // bits: 1 to 4
  const std::uint32_t* pairs;         // [kFactorPairs] f16 levels of both codes of a byte, in shared memory
};

// What pairs[i] is. levels: [2^bits].
__device__ inline std::uint32_t factor_pair(const float* levels, int bits, int i) {
  const int mask = (1 << bits) - 1;
  return device::f32x2_to_f16x2(levels[i & mask], levels[i >> 4 & mask]);
}

// Sixteen codes of a row in 4 bits each, the first lowest. What lies outside of the factor becomes some
// place inside: the other operand is zero there, or nobody reads the sum.
__device__ __forceinline__ uint2 sixteen_codes(const FactorRows& rows, int rank, int sixteen) {
  const std::uint8_t* const row = rows.codes + (rank < rows.rank ? rank : rows.rank - 1) * rows.row_bytes;
  if (16 * sixteen >= rows.length) sixteen = 0;
  if (rows.bits == 4 && reinterpret_cast<std::uintptr_t>(row) % 8 == 0)
    return __ldg(reinterpret_cast<const uint2*>(row) + sixteen);
  std::uint64_t codes = 0;
  SKV_UNROLL_NOT
  for (int i = 15; i >= 0; --i)
    codes = codes << 4 | skv_packed_code(row, rows.length, rows.bits, 16 * sixteen + i);
  return make_uint2(static_cast<std::uint32_t>(codes), static_cast<std::uint32_t>(codes >> 32));
}

__device__ __forceinline__ std::uint32_t pair_of(const FactorRows& rows, std::uint32_t codes, int byte) {
  return rows.pairs[codes >> 8 * byte & 255u];
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

// The place of the first of four that lane 4 g + t has in step `step` of `project`.
SKV_HD inline int projected_place(int step, int t) {
  return 16 * (t + step / 4 * 4) + step % 4 * 4;
}

// along[i] = query g's product with factor row first_rank + 2 t + i, for lane 4 g + t, over `groups` groups
// of 64 places from sixteen `first` on. numbers(step, a): what mma_f16 takes of the queries for the four
// places that projected_place names: rows g of a are the queries, rows g + 8 more to be added to their sums.
template <int groups, class Numbers>
__device__ __forceinline__ void project(const FactorRows& rows, int first_rank, int first,
                                        const Numbers& numbers, float (&along)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  float sums[4] = {};
  uint2 codes[groups];
  SKV_UNROLL
  for (int group = 0; group < groups; ++group)
    codes[group] = sixteen_codes(rows, first_rank + g, first + t + 4 * group);
  SKV_UNROLL
  for (int step = 0; step < 4 * groups; ++step) {
    const std::uint32_t word = step % 4 < 2 ? codes[step / 4].x : codes[step / 4].y;
    const std::uint32_t b[2] = {pair_of(rows, word, step % 2 * 2), pair_of(rows, word, step % 2 * 2 + 1)};
    std::uint32_t a[4];
    numbers(step, a);
    device::mma_f16(sums, a, b);
  }
  along[0] = sums[0] + sums[2];
  along[1] = sums[1] + sums[3];
}

// `along` times the weights (f16, times unit) of ranks from first_rank on, split into two f16 numbers and
// scaled into their range: the operand that multiplies rows of the other factor.
struct Weighted {
  std::uint32_t operand[2];
  float scale;  // what 1 stands for
  __device__ __forceinline__ Weighted(const float (&along)[2], const std::uint16_t* weights, int first_rank,
                                      int rank, float unit) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    float value[2];
    SKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int r = first_rank + 2 * t + i;
      value[i] = r < rank ? along[i] * (device::f16_to_f32(weights[r]) * unit) : 0;
    }
    const float top = warp_max(fmaxf(fabsf(value[0]), fabsf(value[1])));
    scale = top > 1e-30f ? top * (1.0f / 1024) : 1;
    const float inverse = 1 / scale;
    const SplitPair pair(value[0] * inverse, value[1] * inverse);
    operand[0] = pair.high;
    operand[1] = pair.low;
  }
};

// The products of the other factor's rows [length, 8 ranks] with `weighted`: add(p, sums), still to be
// scaled, for the rows that tile_row gives product p of this lane's sixteen.
template <class Add>
__device__ __forceinline__ void expand_factor(const FactorRows& rows, int first_rank, int sixteen,
                                              const Weighted& weighted, const Add& add) {
  const int r = first_rank + 2 * (static_cast<int>(threadIdx.x) % 4);
  const uint2 x = sixteen_codes(rows, r, sixteen), y = sixteen_codes(rows, r + 1, sixteen);
  SKV_UNROLL
  for (int eight = 0; eight < 2; ++eight) {
    const std::uint32_t a = eight == 0 ? x.x : x.y, b = eight == 0 ? y.x : y.y;
    // Bytes of both ranks' codes at even and at odd places.
    const std::uint32_t even = (a & 0x0f0f0f0fu) | (b << 4 & 0xf0f0f0f0u);
    const std::uint32_t odd = (a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u);
    SKV_UNROLL
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t first = pair_of(rows, even, i), second = pair_of(rows, odd, i);
      const std::uint32_t operand[4] = {first, second, first, second};  // for the high and for the low half
      float sums[4] = {};
      device::mma_f16(sums, operand, weighted.operand);
      add(4 * (i % 2) + 2 * eight + i / 2, sums);
    }
  }
}

}  // namespace spectralkv::device_kv
