// Sums of four byte products a lane; with SKV_BYTE_DOTS by the dot product of ARMv8.2.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace {

// acc + the products of signed bytes, four a lane. One side is -127 to 127: without the instruction two
// products share 16 bits.
inline int32x4_t dots_of_four(int32x4_t acc, int8x16_t x, int8x16_t y) {
#if defined(SKV_BYTE_DOTS)
  return vdotq_s32(acc, x, y);
#else
  const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(y)), high = vmull_high_s8(x, y);
  return vpadalq_s16(acc, vpaddq_s16(low, high));
#endif
}
// The four bytes at p for every lane.
inline int8x16_t bytes_four(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
// 0 to 255 as -128 to 127.
inline int8x16_t bytes_less_128(uint8x16_t x) {
  return vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128)));
}

}  // namespace
