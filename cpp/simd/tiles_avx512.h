// Products with codes in tiles by AVX-512 VNNI; tiles_scalar.h says what they mean. Levels are bytes
// 128 too large, for vpdpbusd takes one side without a sign: sums start at -128 times the sum of the numbers.
#pragma once

#include "formats/codetiles.h"
#include "simd/dots_avx512.h"
#include "simd/kernels.h"
#include "simd/vec_avx512.h"

namespace {

using spectralkv::simd::ByteRows;
using spectralkv::simd::CodeTiles;

constexpr int64_t kStripTiles = 4;       // sixteens of rows of codes that are in hand together
constexpr int64_t kExpandedGroups = 64;  // a strip is expanded in memory up to this depth

// The 64 levels of a tile, 128 too large, by position. bits = 8: bytes that are expanded already.
template <int bits>
struct TileLevels {
  static constexpr int64_t kBytes = 8 * bits;
  __m512i low = _mm512_setzero_si512(), high = low, shift = low;
  float unit;  // what a level of 1 stands for

  TileLevels(const int8_t* levels, float of_one) : unit(of_one) {
    if constexpr (bits < 8) {  // at() reads four bits of an index: a table of fewer levels repeats
      const __m512i upward = _mm512_set1_epi8(-128);
      int32_t first, second = 0;
      __builtin_memcpy(&first, levels, 4);
      if constexpr (bits == 3) __builtin_memcpy(&second, levels + 4, 4);
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
// row of codes; rows: how many are left from there.
template <int bits, bool wide, int T, int N>
inline void tile_products(const TileLevels<bits>& levels, const uint8_t* tiles, int64_t stride,
                          int64_t groups, const ByteRows& x, int64_t t, const float* scale, float* y,
                          int64_t ldy, int64_t rows) {
  constexpr int B = wide ? 2 * T : T;
  const int8_t* values = x.values + (wide ? 2 * t : t) * x.ld;
  __m512i acc[N][B];
#pragma GCC unroll 8
  for (int b = 0; b < B; ++b) {
    const int32_t first =
        wide && b % 2 == 0 ? 0 : (int32_t)(-128u * (uint32_t)x.sums[t + (wide ? b / 2 : b)]);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) acc[n][b] = _mm512_set1_epi32(first);
  }
  for (int64_t g = 0; g < groups; ++g) {
    __m512i level[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) level[n] = levels.at(tiles + n * stride + g * TileLevels<bits>::kBytes);
#pragma GCC unroll 8
    for (int b = 0; b < B; ++b) {
      int32_t four;
      __builtin_memcpy(&four, values + b * x.ld + 4 * g, 4);
      const __m512i all = _mm512_set1_epi32(four);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) add_dots(acc[n][b], level[n], all);
    }
  }
#pragma GCC unroll 8
  for (int n = 0; n < N; ++n) {
    const int64_t left = rows - 16 * n;
    const __mmask16 mask = left >= 16 ? (__mmask16)0xffff : vec_mask((int)left);
    for (int i = 0; i < T; ++i) {
      __m512i sum = acc[n][wide ? 2 * i : i];
      if constexpr (wide) sum = _mm512_add_epi32(_mm512_slli_epi32(sum, 8), acc[n][2 * i + 1]);
      __m512 factor = _mm512_set1_ps(levels.unit * x.steps[t + i]);
      if (scale != nullptr) factor = _mm512_mul_ps(factor, _mm512_maskz_loadu_ps(mask, scale + 16 * n));
      float* to = y + i * ldy + 16 * n;
      const __m512 old = _mm512_maskz_loadu_ps(mask, to);
      _mm512_mask_storeu_ps(to, mask, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, old));
    }
  }
}

// A strip of up to kStripTiles sixteens times rows t to t + T - 1 of x.
template <int bits, bool wide, int T>
inline void strip_products(const TileLevels<bits>& levels, const uint8_t* tiles, int64_t stride,
                           int64_t count, int64_t groups, const ByteRows& x, int64_t t, const float* scale,
                           float* y, int64_t ldy, int64_t rows) {
  constexpr int N = (wide ? 2 * T : T) > 6 ? 2 : 4;  // up to 24 registers of sums
  const auto part = [&](int64_t n) { return scale == nullptr ? nullptr : scale + 16 * n; };
  int64_t n = 0;
  for (; n + N <= count; n += N)
    tile_products<bits, wide, T, N>(levels, tiles + n * stride, stride, groups, x, t, part(n), y + 16 * n,
                                    ldy, rows - 16 * n);
  for (; n < count; ++n)
    tile_products<bits, wide, T, 1>(levels, tiles + n * stride, stride, groups, x, t, part(n), y + 16 * n,
                                    ldy, rows - 16 * n);
}

// The same for all rows of x, T at a time.
template <int bits, bool wide, int T>
inline void strip_rows(const TileLevels<bits>& levels, const uint8_t* tiles, int64_t stride, int64_t count,
                       int64_t groups, const ByteRows& x, int64_t t, const float* scale, float* y,
                       int64_t ldy, int64_t rows) {
  for (; x.count - t >= T && !(wide && T == 3 && x.count - t == 4); t += T)
    strip_products<bits, wide, T>(levels, tiles, stride, count, groups, x, t, scale, y + t * ldy, ldy, rows);
  if constexpr (wide && T == 3) {
    if (x.count - t == 4)
      return strip_products<bits, wide, 4>(levels, tiles, stride, count, groups, x, t, scale, y + t * ldy,
                                           ldy, rows);
  }
  if constexpr (T > 1) {
    if (t < x.count)
      strip_rows<bits, wide, T - 1>(levels, tiles, stride, count, groups, x, t, scale, y, ldy, rows);
  }
}

template <int bits, bool wide>
void add_tiles(const CodeTiles& a, const ByteRows& x, const float* scale, float* y, int64_t ldy) {
  constexpr int T = wide ? 3 : 6;
  const TileLevels<bits> levels(a.levels, a.unit);
  const int64_t n_tiles = (a.rows + 15) / 16;
  const bool expand = x.count > 2 * T && a.groups <= kExpandedGroups;
  alignas(64) uint8_t expanded[kStripTiles * kExpandedGroups * 64];
  for (int64_t first = 0; first < n_tiles; first += kStripTiles) {
    const int64_t count = n_tiles - first < kStripTiles ? n_tiles - first : kStripTiles;
    const uint8_t* tiles = a.data + first * a.stride;
    const float* part = scale == nullptr ? nullptr : scale + 16 * first;
    if (!expand) {
      strip_rows<bits, wide, T>(levels, tiles, a.stride, count, a.groups, x, 0, part, y + 16 * first, ldy,
                                a.rows - 16 * first);
      continue;
    }
    for (int64_t n = 0; n < count; ++n)
      for (int64_t g = 0; g < a.groups; ++g)
        _mm512_store_si512(expanded + (n * a.groups + g) * 64,
                           levels.at(tiles + n * a.stride + g * TileLevels<bits>::kBytes));
    strip_rows<8, wide, T>(TileLevels<8>(nullptr, a.unit), expanded, a.groups * 64, count, a.groups, x, 0,
                           part, y + 16 * first, ldy, a.rows - 16 * first);
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
// Number + 128 has the high part in its upper byte and the low part plus 128 in its lower one.
inline void store_parts(int8_t* high, int8_t* low, const Vec v[4]) {
  const __m512i half = _mm512_set1_epi16(128), byte = _mm512_set1_epi16(255);
  const __m512i a =
      _mm512_add_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(v[0].v), _mm512_cvtps_epi32(v[1].v)), half);
  const __m512i b =
      _mm512_add_epi16(_mm512_packs_epi32(_mm512_cvtps_epi32(v[2].v), _mm512_cvtps_epi32(v[3].v)), half);
  const __m512i upper = _mm512_packs_epi16(_mm512_srai_epi16(a, 8), _mm512_srai_epi16(b, 8));
  const __m512i lower = _mm512_packus_epi16(_mm512_and_si512(a, byte), _mm512_and_si512(b, byte));
  _mm512_storeu_si512(high, packed_in_order(upper));
  _mm512_storeu_si512(low, packed_in_order(_mm512_xor_si512(lower, _mm512_set1_epi8(-128))));
}

}  // namespace
