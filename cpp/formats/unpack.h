// Quantised rows taken apart into codes, and one scale and minimum for each group of codes. Value i of a row
// is scale[i / group] * codes[i] + minimum[i / group]; where a type has no minimum, it is -offset * scale.
// Codes of a type with levels stay places in its table.
#pragma once

#include <stdint.h>

#include "formats/decode.h"

// codes [n], scale and minimum [n / group] out; minimum is written only by types that have one.
typedef void (*skv_unpack_fn)(const void* row, int64_t n, uint8_t* codes, float* scale, float* minimum);

template <class Block>
static inline void skv_unpack(const void* row, int64_t n, uint8_t* codes, float* scale, float* minimum) {
  constexpr int values = skv_block_values<Block>::k, groups = values / Block::kForm.group;
  constexpr int step = Block::kForm.has_minimum ? 2 : 1;  // bytes of a group in `fine`
  const Block* block = (const Block*)row;
  for (; n > 0; n -= values, codes += values, ++block) {
    uint16_t coarse[2];
    uint8_t fine[groups * step];
    skv_codes(*block, codes);
    skv_scales(*block, coarse, fine);
    const float d = skv_coarse<Block>(coarse[0]);
    for (int group = 0; group < groups; ++group) {
      const uint8_t* own = fine + group * step;
      if constexpr (Block::kForm.has_minimum) {
        const float m = skv_f16_to_f32(coarse[1]);
        *scale++ = groups > 1 ? d * (float)own[0] : d;
        *minimum++ = groups > 1 ? -m * (float)own[1] : m;
      } else {
        *scale++ = groups > 1 ? d * (float)(int8_t)own[0] : d;
      }
    }
  }
}
