// q5_1: 32 values as 5-bit codes above a minimum.
//
// Block of 24 bytes: d (f16), m (f16), qh (u32), then 16 bytes. Codes as in q5_0: bit i of qh is the highest
// bit of value i's code, the low four bits are the low half of qs[i] for i < 16 and the high half of qs[i -
// 16] after that. A value is d * code + m; the product is exact in f32, so only the sum
// rounds.
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_q5_1 {
  uint16_t d;   // f16 scale
  uint16_t m;   // f16 minimum
  uint32_t qh;  // highest bits
  uint8_t qs[16];
};
static_assert(sizeof(struct skv_block_q5_1) == 24, "q5_1 block");

SKV_HD static inline void skv_decode_q5_1(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q5_1* block = (const struct skv_block_q5_1*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float m = skv_f16_to_f32(block->m);
    const uint32_t high = block->qh;
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] & 15) | (int)((high >> i & 1u) << 4);
      out[i] = d * (float)code + m;
    }
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] >> 4) | (int)((high >> (i + 16) & 1u) << 4);
      out[i + 16] = d * (float)code + m;
    }
  }
}
