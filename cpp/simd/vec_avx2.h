// Sixteen floats as two AVX2 registers; vec_scalar.h says what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

struct Vec {
  __m256 a, b;
};

constexpr int kTileTokens = 1;
constexpr int kFusedTokens = 1;
constexpr int kMixTokens = 4;
constexpr int kMixColumns = 1;

inline __m256i vec_mask8(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

inline Vec vec_set1(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline Vec vec_load(const float* p) {
  return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}
inline Vec vec_load_n(const float* p, int n) {
  return {_mm256_maskload_ps(p, vec_mask8(n)), _mm256_maskload_ps(p + 8, vec_mask8(n - 8))};
}
inline void vec_store(float* p, Vec x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
inline void vec_store_n(float* p, Vec x, int n) {
  _mm256_maskstore_ps(p, vec_mask8(n), x.a);
  _mm256_maskstore_ps(p + 8, vec_mask8(n - 8), x.b);
}
inline Vec vec_load_f16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)),
          _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
inline __m256 vec_bf16_half(const uint16_t* p) {
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}
inline Vec vec_load_bf16(const uint16_t* p) {
  return {vec_bf16_half(p), vec_bf16_half(p + 8)};
}
inline void vec_store_f16(uint16_t* p, Vec x) {
  _mm_storeu_si128((__m128i*)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i*)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
inline Vec vec_from_i8(__m128i bytes) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline Vec vec_load_i8(const int8_t* p) {
  return vec_from_i8(_mm_loadu_si128((const __m128i*)p));
}
inline __m256 vec_lookup8(__m256i index, Vec table) {
  const __m256 low = _mm256_permutevar8x32_ps(table.a, index),
               high = _mm256_permutevar8x32_ps(table.b, index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
}
inline void vec_lookup_nibbles(const uint8_t* p, Vec table, Vec* low, Vec* high) {
  const __m256i x = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  const __m256i y = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(p + 8)));
  *low = {vec_lookup8(x, table), vec_lookup8(y, table)};
  *high = {vec_lookup8(_mm256_srli_epi32(x, 4), table), vec_lookup8(_mm256_srli_epi32(y, 4), table)};
}
inline Vec vec_set1_f16(const uint8_t* p) {
  short half;
  __builtin_memcpy(&half, p, 2);
  const __m256 all = _mm256_cvtph_ps(_mm_set1_epi16(half));
  return {all, all};
}
inline Vec vec_iota() {
  return {_mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_ps(8, 9, 10, 11, 12, 13, 14, 15)};
}
inline Vec vec_add(Vec x, Vec y) {
  return {_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)};
}
inline Vec vec_sub(Vec x, Vec y) {
  return {_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)};
}
inline Vec vec_mul(Vec x, Vec y) {
  return {_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)};
}
inline Vec vec_div(Vec x, Vec y) {
  return {_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)};
}
inline Vec vec_max(Vec x, Vec y) {
  return {_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)};
}
inline Vec vec_min(Vec x, Vec y) {
  return {_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)};
}
inline Vec vec_fma(Vec x, Vec y, Vec z) {
  return {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
}
inline Vec vec_round(Vec x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  return {_mm256_round_ps(x.a, mode), _mm256_round_ps(x.b, mode)};
}
inline __m256 vec_pow2_half(__m256 e) {
  return _mm256_castsi256_ps(
      _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(e), _mm256_set1_epi32(127)), 23));
}
inline Vec vec_scale2(Vec x, Vec e) {
  return {_mm256_mul_ps(x.a, vec_pow2_half(e.a)), _mm256_mul_ps(x.b, vec_pow2_half(e.b))};
}
inline Vec vec_keep_from(Vec a, Vec x, float limit) {
  const __m256 l = _mm256_set1_ps(limit);
  return {_mm256_and_ps(a.a, _mm256_cmp_ps(x.a, l, _CMP_GE_OQ)),
          _mm256_and_ps(a.b, _mm256_cmp_ps(x.b, l, _CMP_GE_OQ))};
}
template <int half>
inline __m256 vec_butterfly_half(__m256 x) {
  const __m256 other = half == 1   ? _mm256_permute_ps(x, 0xb1)
                       : half == 2 ? _mm256_permute_ps(x, 0x4e)
                                   : _mm256_permute2f128_ps(x, x, 1);
  constexpr int upper = half == 1 ? 0xaa : half == 2 ? 0xcc : 0xf0;
  return _mm256_blend_ps(_mm256_add_ps(x, other), _mm256_sub_ps(other, x), upper);
}
template <int half>
inline Vec vec_butterfly(Vec x) {
  if constexpr (half == 8) return {_mm256_add_ps(x.a, x.b), _mm256_sub_ps(x.a, x.b)};
  return {vec_butterfly_half<half>(x.a), vec_butterfly_half<half>(x.b)};
}
inline Vec vec_swap_pairs(Vec x) {
  return {_mm256_permute_ps(x.a, 0xb1), _mm256_permute_ps(x.b, 0xb1)};
}
inline Vec vec_addsub(Vec x, Vec y) {
  return {_mm256_addsub_ps(x.a, y.a), _mm256_addsub_ps(x.b, y.b)};
}
inline Vec vec_dup_even(Vec x) {
  return {_mm256_moveldup_ps(x.a), _mm256_moveldup_ps(x.b)};
}
inline Vec vec_dup_odd(Vec x) {
  return {_mm256_movehdup_ps(x.a), _mm256_movehdup_ps(x.b)};
}
inline void vec_reduce4(Vec p, Vec q, Vec r, Vec s, float out[4]) {
  const __m256 x = _mm256_add_ps(p.a, p.b), y = _mm256_add_ps(q.a, q.b);
  const __m256 z = _mm256_add_ps(r.a, r.b), w = _mm256_add_ps(s.a, s.b);
  const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(x, y), _mm256_hadd_ps(z, w));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
}
inline float vec_reduce_max(Vec x) {
  const __m256 m = _mm256_max_ps(x.a, x.b);
  __m128 h = _mm_max_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
  h = _mm_max_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_max_ss(h, _mm_movehdup_ps(h)));
}

// Eight codes of a plane of 1, 2 or 4 bits in rising lanes, other codes in the bits above them: codes `skip`
// to skip + 7 of the word at p.
inline __m256i vec_code_lanes(const uint8_t* p, int width, int skip) {
  const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i shift =
      _mm256_mullo_epi32(_mm256_add_epi32(lane, _mm256_set1_epi32(skip)), _mm256_set1_epi32(width));
  int word = 0;
  __builtin_memcpy(&word, p, width == 1 ? 2 : 4);
  return _mm256_srlv_epi32(_mm256_set1_epi32(word), shift);
}
// The codes i + 8 * half to i + 8 * half + 7. Up to 4 bits the bits above a code are anything.
template <int bits>
inline __m256i vec_code_index(const uint8_t* row, int64_t d, int64_t i, int half) {
  const auto ones = [&](const uint8_t* plane) { return vec_code_lanes(plane + i / 8, 1, 8 * half); };
  const auto pairs = [&](const uint8_t* plane) { return vec_code_lanes(plane + i / 4, 2, 8 * half); };
  const auto nibbles = [&](const uint8_t* plane) { return vec_code_lanes(plane + i / 2 + 4 * half, 4, 0); };
  const auto above = [](__m256i low, __m256i high, int shift, int mask) {
    const __m256i kept = _mm256_and_si256(low, _mm256_set1_epi32((1 << shift) - 1));
    return _mm256_or_si256(kept, _mm256_slli_epi32(_mm256_and_si256(high, _mm256_set1_epi32(mask)), shift));
  };
  if constexpr (bits == 1) return ones(row);
  if constexpr (bits == 2) return pairs(row);
  if constexpr (bits == 3) return above(pairs(row), ones(row + d / 4), 2, 1);
  if constexpr (bits == 4) return nibbles(row);
  if constexpr (bits == 5) return above(nibbles(row), ones(row + d / 2), 4, 1);
  if constexpr (bits == 6) return above(nibbles(row), pairs(row + d / 2), 4, 3);
  if constexpr (bits == 7)
    return above(above(nibbles(row), pairs(row + d / 2), 4, 3), ones(row + d * 3 / 4), 6, 1);
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(row + i + 8 * half)));
}
template <int bits>
struct CodeLevels {
  const float* levels;
  Vec table;  // up to 4 bits
  explicit CodeLevels(const float* all) : levels(all), table(vec_set1(0.0f)) {
    if constexpr (bits <= 4) {
      if constexpr (bits == 1) {
        table.a = table.b = _mm256_castpd_ps(_mm256_broadcast_sd((const double*)all));
      } else if constexpr (bits == 2) {
        table.a = table.b = _mm256_broadcast_ps((const __m128*)all);
      } else if constexpr (bits == 3) {
        table.a = table.b = _mm256_loadu_ps(all);
      } else {
        table = vec_load(all);
      }
    }
  }
  __m256 half(const uint8_t* row, int64_t d, int64_t i, int h) const {
    const __m256i index = vec_code_index<bits>(row, d, i, h);
    if constexpr (bits <= 3) return _mm256_permutevar8x32_ps(table.a, index);
    if constexpr (bits == 4) return vec_lookup8(index, table);
    return _mm256_i32gather_ps(levels, index, 4);
  }
  Vec at(const uint8_t* row, int64_t d, int64_t i) const { return {half(row, d, i, 0), half(row, d, i, 1)}; }
};

template <int bits>
inline __m256 vec_code_numbers_half(const uint8_t* row, int64_t d, int64_t i, int half) {
  const auto bytes = [&](const uint8_t* plane) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)(plane + i + 8 * half)));
  };
  __m256i code = bytes(row);
  if constexpr (bits > 8) {
    __m256i upper;
    if constexpr (bits == 16) upper = bytes(row + d);
    if constexpr (bits == 12) upper = vec_code_lanes(row + d + i / 2 + 4 * half, 4, 0);
    if constexpr (bits == 10) upper = vec_code_lanes(row + d + i / 4, 2, 8 * half);
    const __m256i mask = _mm256_set1_epi32((1 << (bits - 8)) - 1);
    code = _mm256_or_si256(code, _mm256_slli_epi32(_mm256_and_si256(upper, mask), 8));
  }
  return _mm256_cvtepi32_ps(code);
}
template <int bits>
inline Vec vec_code_numbers(const uint8_t* row, int64_t d, int64_t i) {
  return {vec_code_numbers_half<bits>(row, d, i, 0), vec_code_numbers_half<bits>(row, d, i, 1)};
}

}  // namespace
