// Sixteen floats in one AVX-512 register; vec_scalar.h says what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

struct Vec {
  __m512 v;
};

constexpr int kTileTokens = 6;
constexpr int kFusedTokens = 4;
constexpr int kMixTokens = 4;
constexpr int kMixColumns = 4;

inline __mmask16 vec_mask(int n) {
  return (__mmask16)((1u << n) - 1u);
}

inline Vec vec_set1(float x) {
  return {_mm512_set1_ps(x)};
}
inline Vec vec_load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline Vec vec_load_n(const float* p, int n) {
  return {_mm512_maskz_loadu_ps(vec_mask(n), p)};
}
inline void vec_store(float* p, Vec x) {
  _mm512_storeu_ps(p, x.v);
}
inline void vec_store_n(float* p, Vec x, int n) {
  _mm512_mask_storeu_ps(p, vec_mask(n), x.v);
}
inline Vec vec_load_f16(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
inline Vec vec_load_bf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
inline void vec_store_f16(uint16_t* p, Vec x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline Vec vec_from_i8(__m128i bytes) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
inline Vec vec_load_i8(const int8_t* p) {
  return vec_from_i8(_mm_loadu_si128((const __m128i*)p));
}
inline void vec_lookup_nibbles(const uint8_t* p, Vec table, Vec* low, Vec* high) {
  const __m512i index =
      _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p));  // vpermps reads the low 4 bits
  *low = {_mm512_permutexvar_ps(index, table.v)};
  *high = {_mm512_permutexvar_ps(_mm512_srli_epi32(index, 4), table.v)};
}
inline Vec vec_set1_f16(const uint8_t* p) {
  short half;
  __builtin_memcpy(&half, p, 2);
  return {_mm512_cvtph_ps(_mm256_set1_epi16(half))};
}
inline Vec vec_iota() {
  return {_mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)};
}
inline Vec vec_add(Vec x, Vec y) {
  return {_mm512_add_ps(x.v, y.v)};
}
inline Vec vec_sub(Vec x, Vec y) {
  return {_mm512_sub_ps(x.v, y.v)};
}
inline Vec vec_mul(Vec x, Vec y) {
  return {_mm512_mul_ps(x.v, y.v)};
}
inline Vec vec_div(Vec x, Vec y) {
  return {_mm512_div_ps(x.v, y.v)};
}
inline Vec vec_max(Vec x, Vec y) {
  return {_mm512_max_ps(x.v, y.v)};
}
inline Vec vec_min(Vec x, Vec y) {
  return {_mm512_min_ps(x.v, y.v)};
}
inline Vec vec_fma(Vec x, Vec y, Vec z) {
  return {_mm512_fmadd_ps(x.v, y.v, z.v)};
}
inline Vec vec_round(Vec x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline Vec vec_scale2(Vec x, Vec e) {
  return {_mm512_scalef_ps(x.v, e.v)};
}
inline Vec vec_keep_from(Vec a, Vec x, float limit) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_GE_OQ), a.v)};
}
template <int half>
inline Vec vec_butterfly(Vec x) {
  const __m512 other = half == 1   ? _mm512_permute_ps(x.v, 0xb1)
                       : half == 2 ? _mm512_permute_ps(x.v, 0x4e)
                       : half == 4 ? _mm512_shuffle_f32x4(x.v, x.v, 0xb1)
                                   : _mm512_shuffle_f32x4(x.v, x.v, 0x4e);
  constexpr __mmask16 upper = half == 1 ? 0xaaaa : half == 2 ? 0xcccc : half == 4 ? 0xf0f0 : 0xff00;
  return {_mm512_mask_sub_ps(_mm512_add_ps(x.v, other), upper, other, x.v)};
}
inline Vec vec_swap_pairs(Vec x) {
  return {_mm512_permute_ps(x.v, 0xb1)};
}
inline Vec vec_addsub(Vec x, Vec y) {
  return {_mm512_fmaddsub_ps(x.v, _mm512_set1_ps(1.0f), y.v)};
}
inline Vec vec_dup_even(Vec x) {
  return {_mm512_moveldup_ps(x.v)};
}
inline Vec vec_dup_odd(Vec x) {
  return {_mm512_movehdup_ps(x.v)};
}
inline void vec_reduce4(Vec p, Vec q, Vec r, Vec s, float out[4]) {
  // Two levels of interleaving leave four partial sums a row in each 128-bit lane; then the lanes are added.
  const __m512 x = _mm512_add_ps(_mm512_unpacklo_ps(p.v, q.v), _mm512_unpackhi_ps(p.v, q.v));
  const __m512 y = _mm512_add_ps(_mm512_unpacklo_ps(r.v, s.v), _mm512_unpackhi_ps(r.v, s.v));
  const __m512 z =
      _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(x), _mm512_castps_pd(y))),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(x), _mm512_castps_pd(y))));
  const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(z), _mm512_extractf32x8_ps(z, 1));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}
inline float vec_reduce_max(Vec x) {
  return _mm512_reduce_max_ps(x.v);
}

// Sixteen codes of a plane in rising lanes, other codes in the bits above them.
inline __m512i vec_codes2(const uint8_t* p) {
  int word;
  __builtin_memcpy(&word, p, 4);
  const __m512i shift = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return _mm512_srlv_epi32(_mm512_set1_epi32(word), shift);
}
inline __m512i vec_codes4(const uint8_t* p) {
  int words[2];
  __builtin_memcpy(words, p, 8);
  const __m512i shift = _mm512_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28);
  return _mm512_srlv_epi32(_mm512_mask_set1_epi32(_mm512_set1_epi32(words[0]), 0xff00, words[1]), shift);
}
inline __mmask16 vec_codes1(const uint8_t* p) {
  uint16_t word;
  __builtin_memcpy(&word, p, 2);
  return (__mmask16)word;
}
// Up to 5 bits: a table of 16, repeated where there are fewer levels, so that bits above a code do no harm;
// at 1, 3 and 5 bits the highest bit chooses between two. At 6 bits four tables of 16: bit 4 of an index is
// what vpermt2ps chooses by, the highest bit the pair.
template <int bits>
struct CodeLevels {
  static constexpr int kTable = bits == 1 ? 1 : bits <= 3 ? 4 : 16;
  const float* levels;
  __m512 low, high, third, fourth;
  explicit CodeLevels(const float* all)
      : levels(all), low(_mm512_setzero_ps()), high(low), third(low), fourth(low) {
    if constexpr (bits == 6) {
      low = _mm512_loadu_ps(all), high = _mm512_loadu_ps(all + 16);
      third = _mm512_loadu_ps(all + 32), fourth = _mm512_loadu_ps(all + 48);
    }
    if constexpr (bits <= 5) {
      const auto repeated = [](const float* table) {
        if constexpr (kTable == 1) return _mm512_set1_ps(*table);
        if constexpr (kTable == 4) return _mm512_broadcast_f32x4(_mm_loadu_ps(table));
        return _mm512_loadu_ps(table);
      };
      low = repeated(all);
      if constexpr (bits % 2 == 1) high = repeated(all + kTable);
    }
  }
  Vec at(const uint8_t* row, int64_t d, int64_t i) const {
    if constexpr (bits == 1) return {_mm512_mask_blend_ps(vec_codes1(row + i / 8), low, high)};
    if constexpr (bits == 2) return {_mm512_permutexvar_ps(vec_codes2(row + i / 4), low)};
    if constexpr (bits == 4) return {_mm512_permutexvar_ps(vec_codes4(row + i / 2), low)};
    if constexpr (bits == 3 || bits == 5) {
      const __m512i index = bits == 3 ? vec_codes2(row + i / 4) : vec_codes4(row + i / 2);
      const __mmask16 upper = vec_codes1(row + d * (bits - 1) / 8 + i / 8);
      const __m512 x = _mm512_permutexvar_ps(index, low);
      return {_mm512_mask_blend_ps(upper, x, _mm512_permutexvar_ps(index, high))};
    }
    __m512i index;
    if constexpr (bits == 8) {
      index = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(row + i)));
    } else {
      index = _mm512_and_si512(vec_codes4(row + i / 2), _mm512_set1_epi32(15));
      const __m512i pairs = _mm512_and_si512(vec_codes2(row + d / 2 + i / 4), _mm512_set1_epi32(3));
      index = _mm512_or_si512(index, _mm512_slli_epi32(pairs, 4));
      if constexpr (bits == 6)
        return {_mm512_mask_blend_ps(_mm512_test_epi32_mask(index, _mm512_set1_epi32(32)),
                                     _mm512_permutex2var_ps(low, index, high),
                                     _mm512_permutex2var_ps(third, index, fourth))};
      if constexpr (bits == 7)
        index =
            _mm512_mask_or_epi32(index, vec_codes1(row + d * 3 / 4 + i / 8), index, _mm512_set1_epi32(64));
    }
    return {_mm512_i32gather_ps(index, levels, 4)};
  }
};

template <int bits>
inline Vec vec_code_numbers(const uint8_t* row, int64_t d, int64_t i) {
  const auto bytes = [&](const uint8_t* plane) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)(plane + i)));
  };
  __m512i code = bytes(row);
  if constexpr (bits > 8) {
    __m512i upper;
    if constexpr (bits == 16) upper = bytes(row + d);
    if constexpr (bits == 12) upper = vec_codes4(row + d + i / 2);
    if constexpr (bits == 10) upper = vec_codes2(row + d + i / 4);
    const __m512i mask = _mm512_set1_epi32((1 << (bits - 8)) - 1);
    code = _mm512_or_si512(code, _mm512_slli_epi32(_mm512_and_si512(upper, mask), 8));
  }
  return {_mm512_cvtepi32_ps(code)};
}

}  // namespace
