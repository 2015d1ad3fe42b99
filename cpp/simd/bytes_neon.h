// 64 bytes in four NEON registers; panel_scalar.h says what each function means.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "simd/vec_neon.h"

namespace {

constexpr int kPanelTokens = 4;

struct Bytes {
  uint8x16_t a, b, c, d;
};

inline Bytes bytes_load(const uint8_t* p) {
  return {vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)};
}
template <int shift, int mask>
inline Bytes bytes_field(Bytes x) {
  const auto field = [](uint8x16_t bytes) {
    if constexpr (shift == 0)
      return vandq_u8(bytes, vdupq_n_u8(mask));
    else if constexpr (mask == 255 >> shift)
      return vshrq_n_u8(bytes, shift);
    else
      return vandq_u8(vshrq_n_u8(bytes, shift), vdupq_n_u8(mask));
  };
  return {field(x.a), field(x.b), field(x.c), field(x.d)};
}
template <int value>
inline Bytes bytes_add_bits(Bytes x, const uint8_t* p) {
  const auto added = [&](uint8x16_t bytes, int at) {
    return vaddq_u8(bytes, vandq_u8(vec_of_bits(p + at), vdupq_n_u8(value)));
  };
  return {added(x.a, 0), added(x.b, 2), added(x.c, 4), added(x.d, 6)};
}
inline Bytes bytes_or_shifted4(Bytes x, Bytes high) {
  return {vorrq_u8(x.a, vshlq_n_u8(high.a, 4)), vorrq_u8(x.b, vshlq_n_u8(high.b, 4)),
          vorrq_u8(x.c, vshlq_n_u8(high.c, 4)), vorrq_u8(x.d, vshlq_n_u8(high.d, 4))};
}
struct ByteTable {
  uint8x16_t v;
};
inline ByteTable byte_table_load(const uint8_t* p) {
  return {vld1q_u8(p)};
}
inline Bytes bytes_lookup(ByteTable table, Bytes places) {
  return {vqtbl1q_u8(table.v, places.a), vqtbl1q_u8(table.v, places.b), vqtbl1q_u8(table.v, places.c),
          vqtbl1q_u8(table.v, places.d)};
}
inline Vec vec_fused(Vec a, Vec b, Vec c) {
  return vec_fma(a, b, c);
}
inline void vec_store_i8(int8_t* p, Vec x) {
  const int16x8_t low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x.a)), vcvtnq_s32_f32(x.b)),
                  high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x.c)), vcvtnq_s32_f32(x.d));
  vst1q_s8(p, vqmovn_high_s16(vqmovn_s16(low), high));
}

}  // namespace
