// f16: IEEE half precision values, little endian; a block is one value.
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_f16 {
  uint16_t value;  // 1 sign, 5 exponent, 10 mantissa bits
};
static_assert(sizeof(struct skv_block_f16) == 2, "f16 block");

SKV_HD static inline void skv_decode_f16(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_f16* block = (const struct skv_block_f16*)row;
  // skv_f16_to_f32 without its branch, so that the loop vectorises: scaling by 2^112 rebuilds every exponent
  // except the all-ones one, which a mask adds the missing 112 to.
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t half = block[i].value;
    const uint32_t magnitude = (half & 0x7fffu) << 13;
    const uint32_t scaled = skv_f32_to_bits(skv_bits_to_f32(magnitude) * 0x1p112f);
    const uint32_t special = (0u - (uint32_t)(magnitude >= 0x0f800000u)) & (112u << 23);
    out[i] = skv_bits_to_f32((scaled + special) | (half & 0x8000u) << 16);
  }
}
