// q4_0: 32 values as 4-bit codes around zero under one f16 scale.
//
// Block of 18 bytes: d (f16), then 16 bytes of codes. Byte i holds the code of value i in its low half and
// that of value i + 16 in its high half. A value is d * (code - 8), code in [0, 15].
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_q4_0 {
  uint16_t d;  // f16 scale
  uint8_t qs[16];
};
static_assert(sizeof(struct skv_block_q4_0) == 18, "q4_0 block");

SKV_HD static inline void skv_decode_q4_0(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q4_0* block = (const struct skv_block_q4_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i] = d * (float)((block->qs[i] & 15) - 8);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
  }
}
