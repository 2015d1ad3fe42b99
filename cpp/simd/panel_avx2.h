// 64 bytes in two AVX2 registers; panel_scalar.h says what each function means. With SKV_BYTE_DOTS four
// products of bytes are summed by vpdpbusd. Without, pairs are, in 16 bits, where as many steps stay as fit:
// eight of 4-bit codes, one of 7 bits; codes of 8 bits go in two halves. So both give the same sums.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "simd/vec_avx2.h"
#if defined(SKV_BYTE_DOTS)
#include "simd/dots_avxvnni.h"
#endif

namespace {

constexpr int kPanelTokens = 4;
constexpr int kStepColumns = 4;

struct Bytes {
  __m256i a, b;
};
struct Sums {
  __m256i a, b;  // of 32 bits
#if !defined(SKV_BYTE_DOTS)
  __m256i pairs_a, pairs_b;  // of 16 bits, to be added
#endif
};

inline Bytes bytes_load(const uint8_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
template <int shift, int mask>
inline Bytes bytes_field(Bytes x) {
  const __m256i keep = _mm256_set1_epi8(mask);
  return {_mm256_and_si256(_mm256_srli_epi16(x.a, shift), keep),
          _mm256_and_si256(_mm256_srli_epi16(x.b, shift), keep)};
}
inline __m256i bytes_of_bits(const uint8_t* p) {  // 0xff where bit i of the four bytes at p is set
  int word;
  __builtin_memcpy(&word, p, 4);
  const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2,
                                          2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201ull);
  const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(word), spread);
  return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
}
template <int value>
inline Bytes bytes_add_bits(Bytes x, const uint8_t* p) {
  const __m256i add = _mm256_set1_epi8(value);
  return {_mm256_add_epi8(x.a, _mm256_and_si256(bytes_of_bits(p), add)),
          _mm256_add_epi8(x.b, _mm256_and_si256(bytes_of_bits(p + 4), add))};
}
inline Bytes bytes_or_shifted4(Bytes x, Bytes high) {
  return {_mm256_or_si256(x.a, _mm256_slli_epi16(high.a, 4)),
          _mm256_or_si256(x.b, _mm256_slli_epi16(high.b, 4))};
}
#if defined(SKV_BYTE_DOTS)
template <int bits>
inline Sums sums_start(const int8_t*) {
  return {_mm256_setzero_si256(), _mm256_setzero_si256()};
}
template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int /*step*/) {
  int word;
  __builtin_memcpy(&word, q, 4);
  const __m256i four = _mm256_set1_epi32(word);
  acc = {byte_dots(acc.a, codes.a, four), byte_dots(acc.b, codes.b, four)};
}
template <int bits>
inline Vec sums_to_vec(Sums x) {
  return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)};
}
#else
template <int bits>
inline Sums sums_start(const int8_t*) {
  const __m256i none = _mm256_setzero_si256();
  return {none, none, none, none};
}
inline __m256i add_pairs(__m256i acc, __m256i pairs) {
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
// Keeps sums in their registers from step to step: GCC would make all products first, for which there are too
// few registers, and then add them as a tree.
inline void stay(__m256i& a, __m256i& b) {
  __asm__ volatile("" : "+x"(a), "+x"(b));
}
// Steps whose sums of two products fit 16 bits together.
template <int bits>
constexpr int kNarrowSteps = 32767 / (2 * 127 * ((1 << bits) - 1));  // of 8 bits not one: EightBits

template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int step) {
  int word;
  __builtin_memcpy(&word, q, 4);
  const __m256i four = _mm256_set1_epi32(word);
  const __m256i a = _mm256_maddubs_epi16(codes.a, four), b = _mm256_maddubs_epi16(codes.b, four);
  if (step % kNarrowSteps<bits> == 0) {
    if (step > 0) {
      acc.a = add_pairs(acc.a, acc.pairs_a);
      acc.b = add_pairs(acc.b, acc.pairs_b);
    }
    acc.pairs_a = a;
    acc.pairs_b = b;
  } else {
    acc.pairs_a = _mm256_add_epi16(acc.pairs_a, a);
    acc.pairs_b = _mm256_add_epi16(acc.pairs_b, b);
  }
  stay(acc.pairs_a, acc.pairs_b);
}
template <int bits>
inline Vec sums_to_vec(Sums x) {
  return {_mm256_cvtepi32_ps(add_pairs(x.a, x.pairs_a)), _mm256_cvtepi32_ps(add_pairs(x.b, x.pairs_b))};
}
#endif
struct ByteTable {
  __m256i v;
};
inline ByteTable byte_table_load(const uint8_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p)};
}
inline Bytes bytes_lookup(ByteTable table, Bytes places) {
  return {_mm256_shuffle_epi8(table.v, places.a), _mm256_shuffle_epi8(table.v, places.b)};
}

#if !defined(SKV_BYTE_DOTS)
// Codes and levels of 8 bits (panel_products.inl), in groups of 32: products are of the level less 128, whose
// size is multiplied with activations that have its sign, so that two of them fit 16 bits. A group starts
// with what that leaves out.
struct EightBits {
  struct Operand {
    Bytes level, size;
  };
  static Sums start(const int8_t* q) {
    const __m256i raised = _mm256_xor_si256(_mm256_loadu_si256((const __m256i*)q), _mm256_set1_epi8(-128));
    const __m256i eights = _mm256_sad_epu8(raised, _mm256_setzero_si256());
    const __m128i pairs = _mm_add_epi32(_mm256_castsi256_si128(eights), _mm256_extracti128_si256(eights, 1));
    const __m128i sum =
        _mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0x4e));  // of 32 activations and 128 more each
    const __m256i rest =
        _mm256_slli_epi32(_mm256_sub_epi32(_mm256_broadcastd_epi32(sum), _mm256_set1_epi32(32 * 128)), 7);
    return {rest, rest, rest, rest};
  }
  static void dot(Sums& acc, const Operand& x, const int8_t* q, int /*step*/) {
    int word;
    __builtin_memcpy(&word, q, 4);
    const __m256i four = _mm256_set1_epi32(word);
    const auto add = [&](__m256i& to, __m256i level_of, __m256i size_of) {
      to = add_pairs(to, _mm256_maddubs_epi16(size_of, _mm256_sign_epi8(four, level_of)));
    };
    add(acc.a, x.level.a, x.size.a);
    add(acc.b, x.level.b, x.size.b);
    stay(acc.a, acc.b);
  }
  static Vec sum(const Sums& acc) { return {_mm256_cvtepi32_ps(acc.a), _mm256_cvtepi32_ps(acc.b)}; }
};
template <int bits>
struct PlainCodes;
template <>
struct PlainCodes<8> : EightBits {
  explicit PlainCodes(const uint8_t*) {}
  Operand operand(Bytes codes) const {
    const __m256i top = _mm256_set1_epi8(-128);
    const __m256i a = _mm256_xor_si256(codes.a, top), b = _mm256_xor_si256(codes.b, top);
    return {{a, b}, {_mm256_abs_epi8(a), _mm256_abs_epi8(b)}};
  }
};
template <int level_bits>
struct LevelCodes;
template <>
struct LevelCodes<8> : EightBits {
  ByteTable level, size;
  explicit LevelCodes(const uint8_t* p) {
    level.v = _mm256_xor_si256(byte_table_load(p).v, _mm256_set1_epi8(-128));
    size.v = _mm256_abs_epi8(level.v);
  }
  Operand operand(Bytes codes) const { return {bytes_lookup(level, codes), bytes_lookup(size, codes)}; }
};
#endif

inline Vec vec_fused(Vec a, Vec b, Vec c) {
  return vec_fma(a, b, c);
}
inline void vec_store_i8(int8_t* p, Vec x) {
  const __m256i lanes = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  const __m256i words = _mm256_permute4x64_epi64(lanes, 0xd8);
  _mm_storeu_si128((__m128i*)p,
                   _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}

}  // namespace
