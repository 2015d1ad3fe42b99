// The low-rank part of a block. Components of up to kNarrow bits are two thin products in f16: along the
// factors, and back. Eight ranks at a time. A byte of two 4-bit factor codes selects a pair of f16 levels in
// shared memory, and such a pair is a register of an operand as it stands: nothing is staged, and no lane
// looks a code up that another one has. Wider components, which may hold nearly all of a block, are
// multiplied in f32 (attend_tiles.cuh); here they count as zeros.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/tiles.cuh"

namespace spectralkv::device_kv {

constexpr int kRanks = 8;  // that are multiplied together

// A component in a word: the bits of those before it, flags, its width. 0: there is none.
enum ComponentFlags { kComponentWidth = 0x1f, kComponentSecondBook = 0x40, kComponentWhole = 0x80 };
SKV_HD inline int component_bits_before(int component) {
  return component >> 8;
}

// The columns of one factor.
struct FactorRows {
  const std::uint8_t* codes;
  int bit_bytes, length;       // bytes of a column a bit; its codes, a multiple of 16
  int component;               // lane i: number i's
  const std::uint32_t* pairs;  // [kFactorPairs] in shared memory
};

// One column of FactorRows.
struct FactorColumn {
  const std::uint8_t* codes;
  int width;   // 1 to kNarrow; 0: there is none, or a wide one
  int second;  // its book, 0 or 1
  // rank: below 32, another one for each lane if need be. All lanes call.
  __device__ __forceinline__ FactorColumn(const FactorRows& rows, int rank) {
    const int component = __shfl_sync(0xffffffffu, rows.component, rank);
    codes = rows.codes + component_bits_before(component) * rows.bit_bytes;
    width = (component & kComponentWidth) <= kNarrow ? component & kComponentWidth : 0;
    second = component & kComponentSecondBook ? 1 : 0;
  }
};

// Eight codes of 2 bits, and of 1 bit, into eight nibbles.
__device__ __forceinline__ std::uint32_t spread_twos(std::uint32_t x) {
  x = (x | x << 8) & 0x00ff00ffu;
  x = (x | x << 4) & 0x0f0f0f0fu;
  return (x | x << 2) & 0x33333333u;
}
__device__ __forceinline__ std::uint32_t spread_ones(std::uint32_t x) {
  x = (x | x << 12) & 0x000f000fu;
  x = (x | x << 6) & 0x03030303u;
  return (x | x << 3) & 0x11111111u;
}

// Sixteen codes of a column in 4 bits each, the first lowest; zeros where it has none. What lies outside of
// the factor becomes some place inside: the other operand is zero there, or nobody reads the sum. Every plane
// of sixteen codes (formats/bitpack.h) starts at an even address.
__device__ __forceinline__ uint2 sixteen_codes(const FactorColumn& column, int length, int sixteen) {
  if (16 * sixteen >= length) sixteen = 0;
  if (column.width == 4) {
    const std::uint8_t* const at = column.codes + 8 * sixteen;
    if (reinterpret_cast<std::uintptr_t>(at) % 8 == 0) return __ldg(reinterpret_cast<const uint2*>(at));
    const auto* const words = reinterpret_cast<const std::uint16_t*>(at);
    return make_uint2(__ldg(words) | static_cast<std::uint32_t>(__ldg(words + 1)) << 16,
                      __ldg(words + 2) | static_cast<std::uint32_t>(__ldg(words + 3)) << 16);
  }
  uint2 codes = make_uint2(0, 0);
  const int twos = column.width & 2;
  if (twos != 0) {
    const auto* const words = reinterpret_cast<const std::uint16_t*>(column.codes) + 2 * sixteen;
    codes = make_uint2(spread_twos(__ldg(words)), spread_twos(__ldg(words + 1)));
  }
  if (column.width == 2) {  // they stand behind those of 3 bits in a book that has both
    codes.x |= 0x88888888u;
    codes.y |= 0x88888888u;
  }
  if (column.width & 1) {
    const std::uint32_t word =
        __ldg(reinterpret_cast<const std::uint16_t*>(column.codes + twos * (length / 8)) + sixteen);
    codes.x |= spread_ones(word & 255u) << twos;
    codes.y |= spread_ones(word >> 8) << twos;
  }
  return codes;
}

// Codes `at` to at + 3 of a column of any width, at a multiple of 4.
__device__ __forceinline__ void four_codes(const std::uint8_t* column, int length, int width, int at,
                                           unsigned (&codes)[4]) {
  for (unsigned& code : codes) code = 0;
  SKV_UNROLL_NOT
  for (int low = 0; low < width;) {
    const int bits = skv_plane_width(width, low);
    const std::uint8_t* const from = column + at * bits / 8;
    std::uint32_t word = __ldg(from) >> at * bits % 8;
    if (bits > 2) word |= static_cast<std::uint32_t>(__ldg(from + 1)) << 8;
    if (bits > 4)
      word |= static_cast<std::uint32_t>(__ldg(reinterpret_cast<const std::uint16_t*>(from) + 1)) << 16;
    SKV_UNROLL
    for (int i = 0; i < 4; ++i) codes[i] |= (word >> i * bits & ((1u << bits) - 1u)) << low;
    column += length / 8 * bits;
    low += bits;
  }
}

__device__ __forceinline__ std::uint32_t pair_of(const std::uint32_t* pairs, std::uint32_t codes, int byte) {
  return pairs[codes >> 8 * byte & 255u];
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
  const FactorColumn column(rows, first_rank + g);
  const std::uint32_t* const pairs = rows.pairs + 3 * kBookPairs * column.second;
  SKV_UNROLL
  for (int group = 0; group < groups; ++group)
    codes[group] = sixteen_codes(column, rows.length, first + t + 4 * group);
  SKV_UNROLL
  for (int step = 0; step < 4 * groups; ++step) {
    const std::uint32_t word = step % 4 < 2 ? codes[step / 4].x : codes[step / 4].y;
    const std::uint32_t b[2] = {pair_of(pairs, word, step % 2 * 2), pair_of(pairs, word, step % 2 * 2 + 1)};
    std::uint32_t a[4];
    numbers(step, a);
    device::mma_f16(sums, a, b);
  }
  along[0] = sums[0] + sums[2];
  along[1] = sums[1] + sums[3];
}

// `along` times the shares (f16, times unit) of ranks from first_rank on, split into two f16 numbers and
// scaled into their range: the operand that multiplies rows of the other factor. narrow: a bit a rank.
struct SmallSide {
  std::uint32_t operand[2];
  float scale;  // what 1 stands for
  __device__ __forceinline__ SmallSide(const float (&along)[2], const std::uint16_t* shares, int first_rank,
                                       unsigned narrow, float unit) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    float value[2];
    SKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      const int r = first_rank + 2 * t + i;
      value[i] = narrow >> r & 1u ? along[i] * (device::f16_to_f32(shares[r]) * unit) : 0;
    }
    const float top = device::warp_max(fmaxf(fabsf(value[0]), fabsf(value[1])));
    scale = top > 1e-30f ? top * (1.0f / 1024) : 1;
    const float inverse = 1 / scale;
    const SplitPair pair(value[0] * inverse, value[1] * inverse);
    operand[0] = pair.high;
    operand[1] = pair.low;
  }
};

// The products of the other factor's rows [length, 8 ranks] with the small side: add(p, sums), still to be
// scaled, for the rows that tile_row gives product p of this lane's sixteen.
template <class Add>
__device__ __forceinline__ void expand_factor(const FactorRows& rows, int first_rank, int sixteen,
                                              const SmallSide& small, const Add& add) {
  const int r = first_rank + 2 * (static_cast<int>(threadIdx.x) % 4);
  const FactorColumn one(rows, r), other(rows, r + 1);
  const uint2 x = sixteen_codes(one, rows.length, sixteen), y = sixteen_codes(other, rows.length, sixteen);
  const std::uint32_t* const pairs = rows.pairs + kBookPairs * (one.second + 2 * other.second);
  SKV_UNROLL
  for (int eight = 0; eight < 2; ++eight) {
    const std::uint32_t a = eight == 0 ? x.x : x.y, b = eight == 0 ? y.x : y.y;
    // Bytes of both ranks' codes at even and at odd places.
    const std::uint32_t even = (a & 0x0f0f0f0fu) | (b << 4 & 0xf0f0f0f0u);
    const std::uint32_t odd = (a >> 4 & 0x0f0f0f0fu) | (b & 0xf0f0f0f0u);
    SKV_UNROLL
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t first = pair_of(pairs, even, i), second = pair_of(pairs, odd, i);
      const std::uint32_t operand[4] = {first, second, first, second};  // for the high and for the low half
      float sums[4] = {};
      device::mma_f16(sums, operand, small.operand);
      add(4 * (i % 2) + 2 * eight + i / 2, sums);
    }
  }
}

}  // namespace spectralkv::device_kv
