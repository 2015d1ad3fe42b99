// f16 and bf16 as bit patterns, converted in plain integer code: exact, with subnormals, infinities and NaN.
// Free functions with internal linkage and no STL, so that instruction-set specific objects may include this.
#pragma once

#include <stdint.h>

#include "base/host_device.h"

SKV_HD static inline float skv_bits_to_f32(uint32_t bits) {
  float value;
  __builtin_memcpy(&value, &bits, 4);
  return value;
}

SKV_HD static inline uint32_t skv_f32_to_bits(float value) {
  uint32_t bits;
  __builtin_memcpy(&bits, &value, 4);
  return bits;
}

SKV_HD static inline float skv_f16_to_f32(uint16_t half) {
  // Shift exponent and mantissa to f32's places and scale by 2^112: right for normal and subnormal numbers
  // alike.
  const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
  const float scaled = skv_bits_to_f32(magnitude) * 0x1p112f;
  const uint32_t special = (half & 0x7c00u) == 0x7c00u ? (0x7f800000u | magnitude) : skv_f32_to_bits(scaled);
  return skv_bits_to_f32(special | ((uint32_t)(half & 0x8000u) << 16));
}

// Rounds to nearest even; beyond the range gives infinity.
SKV_HD static inline uint16_t skv_f32_to_f16(float value) {
  const uint32_t bits = skv_f32_to_bits(value);
  const uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);   // NaN
  if (magnitude >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u);  // 65520 and more round to infinity
  if (magnitude < 0x38800000u) {                                    // subnormal: let the adder round at 2^-24
    const float shifted = skv_bits_to_f32(magnitude) + 0.5f;
    return (uint16_t)(sign | (uint16_t)(skv_f32_to_bits(shifted) - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;
  return (uint16_t)(sign | (uint16_t)((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

SKV_HD static inline float skv_bf16_to_f32(uint16_t half) {
  return skv_bits_to_f32((uint32_t)half << 16);
}

SKV_HD static inline uint16_t skv_f32_to_bf16(float value) {
  const uint32_t bits = skv_f32_to_bits(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((bits >> 16) | 0x40u);  // NaN stays NaN
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
