// q4_k: 256 values as 4-bit codes; groups of 32 have a 6-bit scale and a 6-bit minimum, the block an f16
// factor for each.
//
// Block of 144 bytes: d (f16), dmin (f16), 12 bytes of scales and minimums (k_scales.h), 128 bytes of codes.
// Byte l of the c-th run of 32 bytes holds the code of value 64 c + l in its low half and of value 64 c + 32
// + l in its high half. A value is (d * scale) * code - (dmin * minimum); all products are exact in f32, so
// only the difference rounds.
#pragma once

#include <stdint.h>

#include "base/half.h"
#include "formats/k_scales.h"

struct __attribute__((packed)) skv_block_q4_k {
  uint16_t d;     // f16 factor of the scales
  uint16_t dmin;  // f16 factor of the minimums
  uint8_t scales[12];
  uint8_t qs[128];
};
static_assert(sizeof(struct skv_block_q4_k) == 144, "q4_k block");

SKV_HD static inline void skv_decode_q4_k(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q4_k* block = (const struct skv_block_q4_k*)row;
  for (; n > 0; n -= 256, out += 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float dmin = skv_f16_to_f32(block->dmin);
    uint8_t scales[8], minimums[8];
    skv_unpack_k_scales(block->scales, scales, minimums);
    for (int group = 0; group < 8; ++group) {
      const float scale = d * (float)scales[group];
      const float minimum = dmin * (float)minimums[group];
      const uint8_t* qs = block->qs + group / 2 * 32;
      const int shift = group % 2 * 4;
      float* __restrict to = out + 32 * group;
      for (int i = 0; i < 32; ++i) to[i] = scale * (float)(qs[i] >> shift & 15) - minimum;
    }
  }
}
