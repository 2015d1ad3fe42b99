// Sums of a step's 16 rows by NEON; panel_scalar.h says what each function means. Products are of signed
// bytes: codes of 8 bits are read 128 less, and sums begin with what that leaves out of a group.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "simd/bytes_neon.h"
#include "simd/dots_neon.h"
#include "simd/vec_neon.h"

namespace {

constexpr int kStepColumns = 4;

struct Sums {
  int32x4_t a, b, c, d;
};

template <int bits>
inline Sums sums_start(const int8_t* q) {
  int32_t first = 0;
  if constexpr (bits == 8) first = 128 * (vaddlvq_s8(vld1q_s8(q)) + vaddlvq_s8(vld1q_s8(q + 16)));
  const int32x4_t all = vdupq_n_s32(first);
  return {all, all, all, all};
}
template <int bits>
inline void sums_dot(Sums& acc, Bytes codes, const int8_t* q, int /*step*/) {
  const FourBytes four = four_bytes(word_at(q));
  const auto add = [&](int32x4_t& to, uint8x16_t x) {
    to = dots_of_four(to, bits == 8 ? bytes_less_128(x) : vreinterpretq_s8_u8(x), four);
  };
  add(acc.a, codes.a);
  add(acc.b, codes.b);
  add(acc.c, codes.c);
  add(acc.d, codes.d);
}
template <int bits>
inline Vec sums_to_vec(Sums x) {
  return {vcvtq_f32_s32(x.a), vcvtq_f32_s32(x.b), vcvtq_f32_s32(x.c), vcvtq_f32_s32(x.d)};
}

}  // namespace
