// q4_1: 32 values as 4-bit codes above a minimum.
//
// Block of 20 bytes: d (f16), m (f16), then 16 bytes of codes. Byte i holds the code of value i in its low
// half and that of value i + 16 in its high half. A value is d * code + m; the product is exact in f32, so
// only the sum rounds.
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_q4_1 {
  uint16_t d;  // f16 scale
  uint16_t m;  // f16 minimum
  uint8_t qs[16];
};
static_assert(sizeof(struct skv_block_q4_1) == 20, "q4_1 block");

SKV_HD static inline void skv_decode_q4_1(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q4_1* block = (const struct skv_block_q4_1*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float m = skv_f16_to_f32(block->m);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i] = d * (float)(block->qs[i] & 15) + m;
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i + 16] = d * (float)(block->qs[i] >> 4) + m;
  }
}
