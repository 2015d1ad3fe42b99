// Products with codes in tiles by AVX2; tiles_scalar.h says what they mean. vpmaddubsw multiplies the size of
// a number by the level with the number's sign: two products fit 16 bits. Probabilities are read 128 less,
// and 128 times the sum of the levels is added. With SKV_BYTE_DOTS bytes are multiplied by vpdpbusd.
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
constexpr int kLevelsMore = 0;
// What is taken off the numbers, so that they are signed bytes.
template <class Rows>
constexpr int kNumbersLess = 0;
template <>
constexpr int kNumbersLess<ProbabilityRows> = 128;

constexpr int64_t kMostNumbers = 4 * spectralkv::simd::kMostGroups;

// T rows of numbers as signed bytes, and their sizes.
template <int T>
struct SignedRows {
  alignas(32) int8_t number[T][kMostNumbers];
  alignas(32) uint8_t size[T][kMostNumbers];

  template <class Rows>
  SignedRows(const Rows& x, int64_t t, int64_t n) {
    for (int i = 0; i < T; ++i) {
      const auto* row = x.values + (t + i) * x.ld;
      for (int64_t k = 0; k < n; ++k) {
        const int own = row[k] - kNumbersLess<Rows>;
        number[i][k] = (int8_t)own;
        size[i][k] = (uint8_t)(own < 0 ? -own : own);
      }
    }
  }
};
inline __m256i four_times(const void* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

template <int bits, int T, class Rows>
inline void tile_rows(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x, int64_t t,
                      const float* scale, float* y, int64_t ldy) {
  const SignedRows<T> rows(x, t, 4 * a.groups);
  const __m256i one = _mm256_set1_epi16(1), one_byte = _mm256_set1_epi8(1);
  for (int64_t r = 0; r < a.rows; r += 16) {
    const uint8_t* tile = a.data + r / 16 * a.stride;
    __m256i acc[2][T], less[2];
    for (int h = 0; h < 2; ++h) {
      less[h] = _mm256_setzero_si256();
      for (int i = 0; i < T; ++i) acc[h][i] = _mm256_setzero_si256();
    }
    for (int64_t g = 0; g < a.groups; ++g, tile += TileLevels<bits>::kBytes) {
      __m256i half[2];
      levels.at(tile, half);
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        if constexpr (kNumbersLess<Rows> != 0)
          less[h] =
              _mm256_add_epi32(less[h], _mm256_madd_epi16(_mm256_maddubs_epi16(one_byte, half[h]), one));
#pragma GCC unroll 4
        for (int i = 0; i < T; ++i) {
          const __m256i signed_level = _mm256_sign_epi8(half[h], four_times(rows.number[i] + 4 * g));
          const __m256i pairs = _mm256_maddubs_epi16(four_times(rows.size[i] + 4 * g), signed_level);
          acc[h][i] = _mm256_add_epi32(acc[h][i], _mm256_madd_epi16(pairs, one));
          __asm__ volatile("" : "+x"(acc[h][i]));  // stays in its register
        }
      }
    }
#pragma GCC unroll 4
    for (int i = 0; i < T; ++i) {
      __m256i sums[2];
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h)
        sums[h] =
            kNumbersLess<Rows> == 0 ? acc[h][i] : _mm256_add_epi32(acc[h][i], _mm256_slli_epi32(less[h], 7));
      add_products(sums[0], sums[1], a, r, x, t + i, scale, y + i * ldy);
    }
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
