// Products with codes in tiles by NEON; tiles_scalar.h says what they mean. Products are of signed bytes:
// numbers without a sign are read 128 less, and 128 times the sum of the levels makes up for it.
#pragma once

#include "formats/codetiles.h"
#include "simd/bytes_neon.h"
#include "simd/dots_neon.h"
#include "simd/kernels.h"
#include "simd/vec_neon.h"

namespace {

using spectralkv::simd::ByteRows;
using spectralkv::simd::CodeTiles;
using spectralkv::simd::ProbabilityRows;

constexpr int kTileRowsAtOnce = 4;

template <class Rows>
constexpr bool kHaveSign = false;
template <>
constexpr bool kHaveSign<ByteRows> = true;

// The 64 levels of a tile by position.
template <int bits>
struct TileLevels {
  static constexpr int64_t kBytes = 8 * bits;
  uint8x16_t table;

  explicit TileLevels(const int8_t* levels) {
    uint8_t bytes[16];
    for (int i = 0; i < 16; ++i) bytes[i] = (uint8_t)levels[i & ((1 << bits) - 1)];
    table = vld1q_u8(bytes);
  }
  void at(const uint8_t* tile, int8x16_t out[4]) const {
    uint8x16_t index[4];
    if constexpr (bits == 4) {
#pragma GCC unroll 2
      for (int i = 0; i < 2; ++i) {
        const uint8x16_t raw = vld1q_u8(tile + 16 * i);
        index[i] = vandq_u8(raw, vdupq_n_u8(15));
        index[i + 2] = vshrq_n_u8(raw, 4);
      }
    } else if constexpr (bits == 1) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) index[i] = vandq_u8(vec_of_bits(tile + 2 * i), vdupq_n_u8(1));
    } else {
      const uint8x16_t raw = vld1q_u8(tile), mask = vdupq_n_u8(3);
      index[0] = vandq_u8(raw, mask);
      index[1] = vandq_u8(vshrq_n_u8(raw, 2), mask);
      index[2] = vandq_u8(vshrq_n_u8(raw, 4), mask);
      index[3] = vshrq_n_u8(raw, 6);
#pragma GCC unroll 4
      for (int i = 0; i < 4 && bits == 3; ++i)
        index[i] = vorrq_u8(index[i], vandq_u8(vec_of_bits(tile + 16 + 2 * i), vdupq_n_u8(4)));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) out[i] = vreinterpretq_s8_u8(vqtbl1q_u8(table, index[i]));
  }
};

// The sixteen sums of a row of numbers, from row r of the codes on, `left` of them to be added at y.
struct TileSums {
  int32x4_t a, b, c, d;
};
inline void add_row(TileSums sums, float step, const float* scale, int64_t r, int left, float* y) {
  Vec factor = vec_set1(step);
  if (scale != nullptr) factor = vec_mul(factor, vec_load_n(scale + r, left));
  const Vec products = {vcvtq_f32_s32(sums.a), vcvtq_f32_s32(sums.b), vcvtq_f32_s32(sums.c),
                        vcvtq_f32_s32(sums.d)};
  vec_store_n(y, vec_fma(products, factor, vec_load_n(y, left)), left);
}

// Rows t to t + T - 1 of x; y: row t.
template <int bits, int T, class Rows>
inline void tile_rows(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x, int64_t t,
                      const float* scale, float* y, int64_t ldy) {
  const auto* values = x.values + t * x.ld;
  for (int64_t r = 0; r < a.rows; r += 16) {
    const uint8_t* tile = a.data + r / 16 * a.stride;
    int32x4_t acc[T][4], sum[4];  // sum: of the levels
#pragma GCC unroll 4
    for (int h = 0; h < 4; ++h) {
      sum[h] = vdupq_n_s32(0);
#pragma GCC unroll 4
      for (int i = 0; i < T; ++i) acc[i][h] = sum[h];
    }
    for (int64_t g = 0; g < a.groups; ++g, tile += TileLevels<bits>::kBytes) {
      int8x16_t level[4];
      levels.at(tile, level);
      if constexpr (!kHaveSign<Rows>) {
#pragma GCC unroll 4
        for (int h = 0; h < 4; ++h) sum[h] = dots_of_four(sum[h], level[h], four_bytes(0x01010101));
      }
#pragma GCC unroll 4
      for (int i = 0; i < T; ++i) {
        FourBytes four = four_bytes(word_at(values + i * x.ld + 4 * g));
        if constexpr (!kHaveSign<Rows>) four = four_less_128(four);
#pragma GCC unroll 4
        for (int h = 0; h < 4; ++h) acc[i][h] = dots_of_four(acc[i][h], level[h], four);
      }
    }
    const int left = a.rows - r < 16 ? (int)(a.rows - r) : 16;
#pragma GCC unroll 4
    for (int i = 0; i < T; ++i) {
#pragma GCC unroll 4
      for (int h = 0; h < 4; ++h) acc[i][h] = vaddq_s32(acc[i][h], vshlq_n_s32(sum[h], 7));
      add_row({acc[i][0], acc[i][1], acc[i][2], acc[i][3]}, a.unit * x.steps[t + i], scale, r, left,
              y + i * ldy + r);
    }
  }
}

}  // namespace

#if defined(SKV_BYTE_MATRICES)
#include "simd/tiles_i8mm.h"
#endif
#include "simd/tile_all.inl"

namespace {

template <int bits, class Rows>
void add_tiles(const CodeTiles& a, const Rows& x, const float* scale, float* y, int64_t ldy) {
  tile_all(TileLevels<bits>(a.levels), a, x, 0, scale, y, ldy);
}

inline void store_bytes(int8_t* to, const Vec v[4]) {
  for (int i = 0; i < 4; ++i) vec_store_i8(to + 16 * i, v[i]);
}
// What is negative or no number becomes 0.
inline void store_unsigned_bytes(uint8_t* to, const Vec v[4]) {
  for (int i = 0; i < 4; ++i) {
    const uint16x8_t low = vqmovun_high_s32(vqmovun_s32(vcvtnq_s32_f32(v[i].a)), vcvtnq_s32_f32(v[i].b)),
                     high = vqmovun_high_s32(vqmovun_s32(vcvtnq_s32_f32(v[i].c)), vcvtnq_s32_f32(v[i].d));
    vst1q_u8(to + 16 * i, vqmovn_high_u16(vqmovn_u16(low), high));
  }
}

}  // namespace
