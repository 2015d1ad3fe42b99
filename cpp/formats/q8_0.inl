// q8_0: 32 values as signed bytes under one f16 scale.
//
// Block of 34 bytes: d (f16), then 32 int8. Value i is d * qs[i].
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_q8_0 {
  uint16_t d;  // f16 scale
  int8_t qs[32];
};
static_assert(sizeof(struct skv_block_q8_0) == 34, "q8_0 block");

SKV_HD static inline void skv_decode_q8_0(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q8_0* block = (const struct skv_block_q8_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    for (int i = 0; i < 32; ++i) out[i] = d * (float)block->qs[i];
  }
}
