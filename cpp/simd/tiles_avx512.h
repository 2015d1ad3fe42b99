// Products with codes in tiles by AVX-512 VNNI; tiles_scalar.h says what they mean. vpdpbusd takes one side
// without a sign: that is the probabilities, which have none, or else the levels, 128 too large, so that sums
// start at -128 times the sum of the numbers.
#pragma once

#include "formats/codetiles.h"
#include "simd/dots_avx512.h"
#include "simd/kernels.h"
#include "simd/vec_avx512.h"

namespace {

using spectralkv::simd::ByteRows;
using spectralkv::simd::CodeTiles;
using spectralkv::simd::ProbabilityRows;

constexpr int64_t kStripTiles = 4;       // sixteens of rows of codes that are in hand together
constexpr int64_t kExpandedGroups = 64;  // a strip is expanded in memory up to this depth

template <class Rows>
constexpr bool kHaveSign = false;
template <>
constexpr bool kHaveSign<ByteRows> = true;

// The 64 levels of a tile by position, 128 too large for rows that have a sign. bits = 8: bytes that are
// expanded already.
template <int bits, class Rows>
struct TileLevels {
  static constexpr int64_t kBytes = 8 * bits;
  __m512i low = _mm512_setzero_si512(), high = low, shift = low;
  float unit;  // what a level of 1 stands for

  TileLevels(const int8_t* levels, float of_one) : unit(of_one) {
    if constexpr (bits < 8) {  // at() reads four bits of an index: a table of fewer levels repeats
      const __m512i upward = _mm512_set1_epi8(kHaveSign<Rows> ? -128 : 0);
      int32_t first, second = 0;
      __builtin_memcpy(&first, levels, 4);
      if constexpr (bits == 3) __builtin_memcpy(&second, levels + 4, 4);
      if constexpr (bits == 1) {
        low = _mm512_xor_si512(_mm512_set1_epi8(levels[0]), upward);
        high = _mm512_xor_si512(_mm512_set1_epi8(levels[1]), upward);
        return;
      }
      low = bits == 4 ? _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)levels))
                      : _mm512_set1_epi32(first);
      low = _mm512_xor_si512(low, upward);
      high = _mm512_xor_si512(_mm512_set1_epi32(second), upward);
      shift = bits == 4 ? _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4)
                        : _mm512_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 6, 6, 6, 6);
    }
  }
  __m512i at(const uint8_t* tile) const {
    if constexpr (bits == 8) return _mm512_loadu_si512(tile);
    if constexpr (bits == 1) {
      uint64_t mask;
      __builtin_memcpy(&mask, tile, 8);
      return _mm512_mask_blend_epi8((__mmask64)mask, low, high);
    }
    const __m512i raw = bits == 4 ? _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)tile))
                                  : _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)tile));
    // The shuffle reads four bits and the sign of an index; the table repeats where a code has fewer.
    const __m512i index = _mm512_and_si512(_mm512_srlv_epi32(raw, shift), _mm512_set1_epi8(15));
    const __m512i level = _mm512_shuffle_epi8(low, index);
    if constexpr (bits != 3) return level;
    uint64_t upper;
    __builtin_memcpy(&upper, tile + 16, 8);
    return _mm512_mask_shuffle_epi8(level, (__mmask64)upper, high, index);
  }
};

// N sixteens of rows of codes, `stride` bytes apart, times rows t to t + T - 1 of x. y: row t, at the first
// row of codes; rows: how many are left from there. ahead: null, or the bytes to ask for.
template <int bits, int T, int N, class Rows>
inline void tile_products(const TileLevels<bits, Rows>& levels, const uint8_t* tiles, int64_t stride,
                          int64_t groups, const uint8_t* ahead, const Rows& x, int64_t t, const float* scale,
                          float* y, int64_t ldy, int64_t rows) {
  constexpr int64_t kBytes = TileLevels<bits, Rows>::kBytes;
  __m512i acc[N][T];
#pragma GCC unroll 8
  for (int i = 0; i < T; ++i) {
    int32_t first = 0;
    if constexpr (kHaveSign<Rows>) first = (int32_t)(-128u * (uint32_t)x.sums[t + i]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[n][i] = _mm512_set1_epi32(first);
  }
  const auto* values = x.values + t * x.ld;
  for (int64_t g = 0; g < groups; ++g) {
    if (ahead != nullptr)
      for (int64_t at = 0; at < N * kBytes; at += 64) __builtin_prefetch(ahead + g * N * kBytes + at, 0, 3);
    __m512i level[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) level[n] = levels.at(tiles + n * stride + g * kBytes);
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i) {
      int32_t four;
      __builtin_memcpy(&four, values + i * x.ld + 4 * g, 4);
      const __m512i all = _mm512_set1_epi32(four);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) {
        if constexpr (kHaveSign<Rows>)
          add_dots(acc[n][i], level[n], all);
        else
          add_dots(acc[n][i], all, level[n]);
      }
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    const int64_t left = rows - 16 * n;
    const __mmask16 mask = left >= 16 ? (__mmask16)0xffff : vec_mask((int)left);
    for (int i = 0; i < T; ++i) {
      __m512 factor = _mm512_set1_ps(levels.unit * x.steps[t + i]);
      if (scale != nullptr) factor = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, scale + 16 * n));
      float* to = y + i * ldy + 16 * n;
      const __m512 old = _mm512_maskz_loadu_ps(mask, to);
      _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(_mm512_cvtepi32_ps(acc[n][i]), factor, old));
    }
  }
}

// A strip of up to kStripTiles sixteens times rows t to t + T - 1 of x.
template <int bits, int T, class Rows>
inline void strip_products(const TileLevels<bits, Rows>& levels, const uint8_t* tiles, int64_t stride,
                           int64_t count, int64_t groups, const uint8_t* ahead, const Rows& x, int64_t t,
                           const float* scale, float* y, int64_t ldy, int64_t rows) {
  constexpr int N = kStripTiles;  // up to 24 registers of sums
  const auto part = [&](int64_t n) { return scale == nullptr ? nullptr : scale + 16 * n; };
  if (count == N)
    return tile_products<bits, T, N>(levels, tiles, stride, groups, ahead, x, t, scale, y, ldy, rows);
  for (int64_t n = 0; n < count; ++n)
    tile_products<bits, T, 1>(levels, tiles + n * stride, stride, groups, nullptr, x, t, part(n), y + 16 * n,
                              ldy, rows - 16 * n);
}

// The same for all rows of x, T at a time.
template <int bits, int T, class Rows>
inline void strip_rows(const TileLevels<bits, Rows>& levels, const uint8_t* tiles, int64_t stride,
                       int64_t count, int64_t groups, const uint8_t* ahead, const Rows& x, int64_t t,
                       const float* scale, float* y, int64_t ldy, int64_t rows) {
  for (; x.count - t >= T; t += T, ahead = nullptr)
    strip_products<bits, T>(levels, tiles, stride, count, groups, ahead, x, t, scale, y + t * ldy, ldy, rows);
  if constexpr (T > 1) {
    if (t < x.count)
      strip_rows<bits, T - 1>(levels, tiles, stride, count, groups, ahead, x, t, scale, y, ldy, rows);
  }
}

template <int bits, class Rows>
void add_tiles(const CodeTiles& a, const Rows& x, const float* scale, float* y, int64_t ldy) {
  constexpr int T = 6;
  const TileLevels<bits, Rows> levels(a.levels, a.unit);
  const int64_t n_tiles = (a.rows + 15) / 16;
  const bool expand = x.count > 2 * T && a.groups <= kExpandedGroups;
  alignas(64) uint8_t expanded[kStripTiles * kExpandedGroups * 64];
  for (int64_t first = 0; first < n_tiles; first += kStripTiles) {
    const int64_t count = n_tiles - first < kStripTiles ? n_tiles - first : kStripTiles;
    const uint8_t* tiles = a.data + first * a.stride;
    const float* part = scale == nullptr ? nullptr : scale + 16 * first;
    if (!expand) {
      const uint8_t* ahead = a.ahead == nullptr ? nullptr : a.ahead + first * a.stride;
      strip_rows<bits, T>(levels, tiles, a.stride, count, a.groups, ahead, x, 0, part, y + 16 * first, ldy,
                          a.rows - 16 * first);
      continue;
    }
    for (int64_t n = 0; n < count; ++n)
      for (int64_t g = 0; g < a.groups; ++g)
        _mm512_store_si512(expanded + (n * a.groups + g) * 64,
                           levels.at(tiles + n * a.stride + g * levels.kBytes));
    strip_rows<8, T>(TileLevels<8, Rows>(nullptr, a.unit), expanded, a.groups * 64, count, a.groups, nullptr,
                     x, 0, part, y + 16 * first, ldy, a.rows - 16 * first);
  }
}

// Sixteen dwords from the in-lane order that two levels of packing leave.
inline __m512i packed_in_order(__m512i x) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
}
inline void store_bytes(int8_t* to, const Vec v[4]) {
  const __m512i a = _mm512_packs_epi32(_mm512_cvtps_epi32(v[0].v), _mm512_cvtps_epi32(v[1].v));
  const __m512i b = _mm512_packs_epi32(_mm512_cvtps_epi32(v[2].v), _mm512_cvtps_epi32(v[3].v));
  _mm512_storeu_si512(to, packed_in_order(_mm512_packs_epi16(a, b)));
}
// What is negative becomes 0.
inline void store_unsigned_bytes(uint8_t* to, const Vec v[4]) {
  const __m512i a = _mm512_packs_epi32(_mm512_cvtps_epi32(v[0].v), _mm512_cvtps_epi32(v[1].v));
  const __m512i b = _mm512_packs_epi32(_mm512_cvtps_epi32(v[2].v), _mm512_cvtps_epi32(v[3].v));
  _mm512_storeu_si512(to, packed_in_order(_mm512_packus_epi16(a, b)));
}

}  // namespace
