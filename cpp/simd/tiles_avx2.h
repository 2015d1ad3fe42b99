// Products with codes in tiles by AVX2; tiles_scalar.h says what they mean. Levels are 16-bit numbers 128 too
// large, for vpmaddwd: sums start at -128 times the sum of the numbers. With SKV_BYTE_DOTS bytes are
// multiplied by vpdpbusd (tile_rows).
#pragma once

#include "formats/codetiles.h"
#include "simd/kernels.h"
#include "simd/vec_avx2.h"
#if defined(SKV_BYTE_DOTS)
#include "simd/dots_avxvnni.h"
#endif

namespace {

using spectralkv::simd::ByteRows;
using spectralkv::simd::CodeTiles;
using spectralkv::simd::ProbabilityRows;

constexpr int kTileRowsAtOnce = 4;

// Half h of a tile, rows 8 h to 8 h + 7: bytes by position, `more` too large.
template <int bits>
struct TileLevels {
  static constexpr int64_t kBytes = 8 * bits;
  __m256i table, shift[2];

  TileLevels(const int8_t* levels, int more) {
    uint8_t bytes[16];
    for (int i = 0; i < 16; ++i) bytes[i] = (uint8_t)(levels[i & ((1 << bits) - 1)] + more);
    table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)bytes));
    shift[0] = _mm256_setr_epi32(0, 0, 0, 0, 2, 2, 2, 2);
    shift[1] = _mm256_setr_epi32(4, 4, 4, 4, 6, 6, 6, 6);
  }
  void at(const uint8_t* tile, __m256i out[2]) const {
    if constexpr (bits == 4) {
      const __m256i raw = _mm256_loadu_si256((const __m256i*)tile), mask = _mm256_set1_epi8(15);
      out[0] = _mm256_shuffle_epi8(table, _mm256_and_si256(raw, mask));
      out[1] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi32(raw, 4), mask));
      return;
    }
    if constexpr (bits == 1) {
      for (int h = 0; h < 2; ++h) out[h] = _mm256_shuffle_epi8(table, of_mask(tile + 4 * h, 1));
      return;
    }
    const __m256i raw = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)tile));
    for (int h = 0; h < 2; ++h) {
      __m256i index = _mm256_and_si256(_mm256_srlv_epi32(raw, shift[h]), _mm256_set1_epi8(3));
      if constexpr (bits == 3) index = _mm256_or_si256(index, of_mask(tile + 16 + 4 * h, 4));
      out[h] = _mm256_shuffle_epi8(table, index);
    }
  }

 private:
  // `set` where a bit of the mask's four bytes is 1: each byte to eight bytes of its own, one bit in each.
  static __m256i of_mask(const uint8_t* mask, char set) {
    int four;
    __builtin_memcpy(&four, mask, 4);
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                            2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    const __m256i own = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(four), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(own, bit), _mm256_set1_epi8(set));
  }
};

// Adds the products of sixteen rows, from r on, with row t of x to y.
template <class Rows>
inline void add_products(__m256i low, __m256i high, const CodeTiles& a, int64_t r, const Rows& x, int64_t t,
                         const float* scale, float* y) {
  const int left = a.rows - r < 16 ? (int)(a.rows - r) : 16;
  const Vec sum = {_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(high)};
  Vec factor = vec_set1(a.unit * x.steps[t]);
  if (scale != nullptr) factor = vec_mul(factor, vec_load_n(scale + r, left));
  vec_store_n(y + r, vec_fma(sum, factor, vec_load_n(y + r, left)), left);
}

#if defined(SKV_BYTE_DOTS)
// vpdpbusd takes one side without a sign: that is the probabilities, or else the levels.
template <class Rows>
constexpr int kLevelsMore = 0;
template <>
constexpr int kLevelsMore<ByteRows> = 128;

template <int bits, int T, class Rows>
inline void tile_rows(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x, int64_t t,
                      const float* scale, float* y, int64_t ldy) {
  const auto* values = x.values + t * x.ld;
  for (int64_t r = 0; r < a.rows; r += 16) {
    const uint8_t* tile = a.data + r / 16 * a.stride;
    __m256i acc[2][T];
#pragma GCC unroll 4
    for (int i = 0; i < T; ++i) {
      int32_t first = 0;
      if constexpr (kLevelsMore<Rows> != 0) first = (int32_t)(-128u * (uint32_t)x.sums[t + i]);
      acc[0][i] = acc[1][i] = _mm256_set1_epi32(first);
    }
    for (int64_t g = 0; g < a.groups; ++g, tile += TileLevels<bits>::kBytes) {
      __m256i half[2];
      levels.at(tile, half);
#pragma GCC unroll 4
      for (int i = 0; i < T; ++i) {
        int32_t word;
        __builtin_memcpy(&word, values + i * x.ld + 4 * g, 4);
        const __m256i four = _mm256_set1_epi32(word);
#pragma GCC unroll 2
        for (int h = 0; h < 2; ++h)
          acc[h][i] = kLevelsMore<Rows> != 0 ? byte_dots(acc[h][i], half[h], four)
                                             : byte_dots(acc[h][i], four, half[h]);
      }
    }
    for (int i = 0; i < T; ++i) add_products(acc[0][i], acc[1][i], a, r, x, t + i, scale, y + i * ldy);
  }
}
#else
template <class Rows>
constexpr int kLevelsMore = 128;

// Rows t to t + T - 1 of x: four numbers of a group as pairs of 16 bits, the even ones, then the odd ones.
template <class Rows, int T>
inline void tile_pairs(const Rows& x, int64_t t, int64_t groups, int32_t (*pairs)[T][2], int32_t* sums) {
  for (int i = 0; i < T; ++i) {
    const auto* row = x.values + (t + i) * x.ld;
    sums[i] = 0;
    for (int64_t g = 0; g < groups; ++g) {
      const int16_t turned[4] = {row[4 * g], row[4 * g + 2], row[4 * g + 1], row[4 * g + 3]};
      sums[i] += turned[0] + turned[1] + turned[2] + turned[3];
      __builtin_memcpy(pairs[g][i], turned, 8);
    }
  }
}

template <int bits, int T, class Rows>
inline void tile_rows(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x, int64_t t,
                      const float* scale, float* y, int64_t ldy) {
  int32_t pairs[spectralkv::simd::kMostGroups][T][2], sums[T];
  tile_pairs<Rows, T>(x, t, a.groups, pairs, sums);
  const __m256i even = _mm256_set1_epi32(0x00ff00ff);
  for (int64_t r = 0; r < a.rows; r += 16) {
    const uint8_t* tile = a.data + r / 16 * a.stride;
    __m256i acc[2][T];
    for (int i = 0; i < T; ++i)
      acc[0][i] = acc[1][i] = _mm256_set1_epi32((int32_t)(-128u * (uint32_t)sums[i]));
    for (int64_t g = 0; g < a.groups; ++g, tile += TileLevels<bits>::kBytes) {
      __m256i half[2];
      levels.at(tile, half);
      for (int h = 0; h < 2; ++h) {
        const __m256i low = _mm256_and_si256(half[h], even), high = _mm256_srli_epi16(half[h], 8);
        for (int i = 0; i < T; ++i) {
          const __m256i first = _mm256_madd_epi16(low, _mm256_set1_epi32(pairs[g][i][0]));
          const __m256i second = _mm256_madd_epi16(high, _mm256_set1_epi32(pairs[g][i][1]));
          acc[h][i] = _mm256_add_epi32(acc[h][i], _mm256_add_epi32(first, second));
        }
      }
    }
    for (int i = 0; i < T; ++i) add_products(acc[0][i], acc[1][i], a, r, x, t + i, scale, y + i * ldy);
  }
}
#endif

}  // namespace

#include "simd/tile_all.inl"

namespace {

template <int bits, class Rows>
void add_tiles(const CodeTiles& a, const Rows& x, const float* scale, float* y, int64_t ldy) {
  tile_all(TileLevels<bits>(a.levels, kLevelsMore<Rows>), a, x, 0, scale, y, ldy);
}

// Numbers as 16-bit words in the in-lane order that packing leaves; 32 bytes from the order that two levels
// leave.
inline __m256i packed_words(Vec v) {
  return _mm256_packs_epi32(_mm256_cvtps_epi32(v.a), _mm256_cvtps_epi32(v.b));
}
inline __m256i packed_in_order(__m256i x) {
  return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
inline void store_bytes(int8_t* to, const Vec v[4]) {
  for (int i = 0; i < 4; i += 2)
    _mm256_storeu_si256((__m256i*)(to + 16 * i),
                        packed_in_order(_mm256_packs_epi16(packed_words(v[i]), packed_words(v[i + 1]))));
}
// What is negative becomes 0.
inline void store_unsigned_bytes(uint8_t* to, const Vec v[4]) {
  for (int i = 0; i < 4; i += 2)
    _mm256_storeu_si256((__m256i*)(to + 16 * i),
                        packed_in_order(_mm256_packus_epi16(packed_words(v[i]), packed_words(v[i + 1]))));
}

}  // namespace
