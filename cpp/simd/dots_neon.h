// Sums of four byte products a lane; with SKV_BYTE_DOTS by the dot product of ARMv8.2.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace {

inline int32_t word_at(const void* p) {
  int32_t word;
  __builtin_memcpy(&word, p, 4);
  return word;
}
// 0 to 255 as -128 to 127.
inline int8x16_t bytes_less_128(uint8x16_t x) {
  return vreinterpretq_s8_u8(veorq_u8(x, vdupq_n_u8(128)));
}

#if defined(SKV_BYTE_DOTS)
typedef int8x8_t FourBytes;  // the first four: the instruction repeats them
inline FourBytes four_bytes(int32_t word) {
  return vcreate_s8((uint32_t)word);
}
inline FourBytes four_less_128(FourBytes x) {
  return veor_s8(x, vdup_n_s8(-128));
}
// acc + the products of signed bytes with the four, four a lane.
inline int32x4_t dots_of_four(int32x4_t acc, int8x16_t x, FourBytes four) {
  return vdotq_lane_s32(acc, x, four, 0);
}
#else
typedef int8x16_t FourBytes;  // four times over
inline FourBytes four_bytes(int32_t word) {
  return vreinterpretq_s8_s32(vdupq_n_s32(word));
}
inline FourBytes four_less_128(FourBytes x) {
  return bytes_less_128(vreinterpretq_u8_s8(x));
}
// Two products share 16 bits: one side must be -127 to 127.
inline int32x4_t dots_of_four(int32x4_t acc, int8x16_t x, FourBytes four) {
  const int16x8_t low = vmull_s8(vget_low_s8(x), vget_low_s8(four)), high = vmull_high_s8(x, four);
  return vpadalq_s16(acc, vpaddq_s16(low, high));
}
#endif

}  // namespace
