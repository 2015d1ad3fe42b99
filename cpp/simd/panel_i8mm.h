// Sums of a step's eight rows by eight columns, by the products of bytes of ARMv8.6; panel_scalar.h says what
// each function means. Codes have no sign here, activations do.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "simd/bytes_neon.h"
#include "simd/panel_layout.h"
#include "simd/vec_neon.h"

namespace {

constexpr int kStepColumns = 8;

struct Sums {
  int32x4_t of[8];  // two rows each, a row's in two lanes that are still to be added
};

template <int bits>
inline Sums sums_start(const int8_t*) {
  const int32x4_t none = vdupq_n_s32(0);
  return {{none, none, none, none, none, none, none, none}};
}
template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int step) {
  const int8x8_t eight = vld1_s8(q);
  const int8x16_t twice = vcombine_s8(eight, eight);
  int32x4_t* const to = acc.of + step % 2 * 4;
  to[0] = vusdotq_s32(to[0], codes.a, twice);
  to[1] = vusdotq_s32(to[1], codes.b, twice);
  to[2] = vusdotq_s32(to[2], codes.c, twice);
  to[3] = vusdotq_s32(to[3], codes.d, twice);
}
template <int bits>
inline Vec sums_to_vec(const Sums& x) {
  return {vcvtq_f32_s32(vpaddq_s32(x.of[0], x.of[1])), vcvtq_f32_s32(vpaddq_s32(x.of[2], x.of[3])),
          vcvtq_f32_s32(vpaddq_s32(x.of[4], x.of[5])), vcvtq_f32_s32(vpaddq_s32(x.of[6], x.of[7]))};
}

// Several tokens: pairs of them times pairs of rows (panel_products.inl).
template <class Codes, int T>
struct TokenSums;
template <class Codes, int T>
requires(T > 1) struct TokenSums<Codes, T> {
  static_assert(T % 2 == 0);
  // Of a pair of tokens with two rows: first and second token, then those of the next row.
  int32x4_t of[T / 2][8];

  TokenSums(const spectralkv::simd::ActivationGroup*, int64_t, int) {
#pragma GCC unroll 8
    for (int pair = 0; pair < T / 2; ++pair)
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) of[pair][i] = vdupq_n_s32(0);
  }
  void add(Bytes codes, const spectralkv::simd::ActivationGroup* x, int64_t groups, int column, int step) {
#pragma GCC unroll 8
    for (int pair = 0; pair < T / 2; ++pair) {
      const int8x16_t two = vcombine_s8(vld1_s8(x[2 * pair * groups].q + column),
                                        vld1_s8(x[(2 * pair + 1) * groups].q + column));
      int32x4_t* const to = of[pair] + step % 2 * 4;
      to[0] = vusmmlaq_s32(to[0], codes.a, two);
      to[1] = vusmmlaq_s32(to[1], codes.b, two);
      to[2] = vusmmlaq_s32(to[2], codes.c, two);
      to[3] = vusmmlaq_s32(to[3], codes.d, two);
    }
  }
  Vec sum(int t) const {
    const int32x4_t* const from = of[t / 2];
    const auto four = [t, from](int i) {
      return vcvtq_f32_s32(t % 2 == 0 ? vuzp1q_s32(from[2 * i], from[2 * i + 1])
                                      : vuzp2q_s32(from[2 * i], from[2 * i + 1]));
    };
    return {four(0), four(1), four(2), four(3)};
  }
};

}  // namespace
