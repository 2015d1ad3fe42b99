// q2_k: 256 values as 2-bit codes; groups of 16 have a 4-bit scale and a 4-bit minimum, the block an f16
// factor for each.
//
// Block of 84 bytes: 16 bytes, one a group, scale in the low half and minimum in the high half; 64 bytes of
// codes; d (f16); dmin (f16). The codes come in two halves of 128 values and 32 bytes: byte l of a half holds
// in its bit pair j (j = 0 lowest) the code of the half's value 32 j + l. A value is (d * scale) * code -
// (dmin * minimum); all products are exact in f32, so only the difference rounds.
#pragma once

#include <stdint.h>

#include "base/half.h"

struct __attribute__((packed)) skv_block_q2_k {
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;     // f16 factor of the scales
  uint16_t dmin;  // f16 factor of the minimums
};
static_assert(sizeof(struct skv_block_q2_k) == 84, "q2_k block");

SKV_HD static inline void skv_decode_q2_k(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q2_k* block = (const struct skv_block_q2_k*)row;
  for (; n > 0; n -= 256, out += 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float dmin = skv_f16_to_f32(block->dmin);
    for (int group = 0; group < 16; ++group) {
      const float scale = d * (float)(block->scales[group] & 15);
      const float minimum = dmin * (float)(block->scales[group] >> 4);
      const uint8_t* qs = block->qs + group / 8 * 32 + group % 2 * 16;
      const int shift = group / 2 % 4 * 2;
      float* __restrict to = out + 16 * group;
      SKV_ROLLED
      for (int i = 0; i < 16; ++i) to[i] = scale * (float)(qs[i] >> shift & 3) - minimum;
    }
  }
}
