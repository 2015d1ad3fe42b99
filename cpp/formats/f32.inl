// f32: plain IEEE single precision values, little endian; a block is one value.
#pragma once

#include <stdint.h>

#include "base/half.h"

// Packed: a row may start at any byte.
struct __attribute__((packed)) skv_block_f32 {
  float value;
};
static_assert(sizeof(struct skv_block_f32) == 4, "f32 block");

SKV_HD static inline void skv_decode_f32(const void* row, float* __restrict out, int64_t n) {
  __builtin_memcpy(out, row, (uint64_t)n * sizeof(float));
}
