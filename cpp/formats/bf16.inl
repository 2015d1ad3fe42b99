// bf16: the upper half of IEEE single precision values, little endian; a block is one value.
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_bf16 {
  uint16_t value;  // 1 sign, 8 exponent, 7 mantissa bits
};
static_assert(sizeof(struct skv_block_bf16) == 2, "bf16 block");

SKV_HD static inline void skv_decode_bf16(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_bf16* block = (const struct skv_block_bf16*)row;
  for (int64_t i = 0; i < n; ++i) out[i] = skv_bf16_to_f32(block[i].value);
}
