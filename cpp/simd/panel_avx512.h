// 64 bytes in one AVX-512 register, products by VNNI; panel_scalar.h says what each function means.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd/dots_avx512.h"
#include "simd/vec_avx512.h"

namespace {

constexpr int kPanelTokens = 8;
constexpr int kStepColumns = 4;

struct Bytes {
  __m512i v;
};
struct Sums {
  __m512i v;
};

inline Bytes bytes_load(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
template <int shift, int mask>
inline Bytes bytes_field(Bytes x) {
  const __m512i moved = shift == 0 ? x.v : _mm512_srli_epi16(x.v, shift);
  return {_mm512_and_si512(moved, _mm512_set1_epi8(mask))};
}
template <int value>
inline Bytes bytes_add_bits(Bytes x, const uint8_t* p) {
  uint64_t bits;
  __builtin_memcpy(&bits, p, 8);
  return {_mm512_mask_add_epi8(x.v, (__mmask64)bits, x.v, _mm512_set1_epi8(value))};
}
inline Bytes bytes_or_shifted4(Bytes x, Bytes high) {
  return {_mm512_or_si512(x.v, _mm512_slli_epi16(high.v, 4))};
}
template <int bits>
inline Sums sums_start(const int8_t*) {
  return {_mm512_setzero_si512()};
}
template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int /*step*/) {
  add_dots_of_four(acc.v, codes.v, q);
}
struct ByteTable {
  __m512i v;
};
inline ByteTable byte_table_load(const uint8_t* p) {
  return {_mm512_loadu_si512(p)};
}
inline Bytes bytes_lookup(ByteTable table, Bytes places) {
  return {_mm512_shuffle_epi8(table.v, places.v)};
}
template <int bits>
inline Vec sums_to_vec(Sums x) {
  return {_mm512_cvtepi32_ps(x.v)};
}
inline Vec vec_fused(Vec a, Vec b, Vec c) {
  return vec_fma(a, b, c);
}
inline void vec_store_i8(int8_t* p, Vec x) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(x.v)));
}

}  // namespace
