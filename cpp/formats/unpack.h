// Quantised rows taken apart into codes, scales and minimums. Where a block is one group of codes, value i of
// a row is scale[i / group] * codes[i] + minimum[i / group]; without minimums the last is -offset * scale.
// Where a block has several groups, scale and minimum are the block's, and a group multiplies them by whole
// numbers of its own. Codes of a type with levels stay places in its table.
#pragma once

#include <stdint.h>

#include "formats/decode.h"

// Whether a type's blocks have several groups.
template <class Block>
constexpr bool skv_has_fine = Block::kForm.bits > 0 && skv_block_values<Block>::k > Block::kForm.group;

// codes [n], scale and minimum [blocks], fine [n / group, 1 or 2] out: a group's number for the scale and,
// where there are minimums, that for the minimum behind it. minimum and fine are written only by types that
// have them.
typedef void (*skv_unpack_fn)(const void* row, int64_t n, uint8_t* codes, float* scale, float* minimum,
                              int8_t* fine);

template <class Block>
static inline void skv_unpack(const void* row, int64_t n, uint8_t* codes, float* scale, float* minimum,
                              int8_t* fine) {
  constexpr int values = skv_block_values<Block>::k, groups = values / Block::kForm.group;
  constexpr int step = Block::kForm.has_minimum ? 2 : 1;  // bytes of a group in `fine`
  const Block* block = (const Block*)row;
  for (; n > 0; n -= values, codes += values, ++block) {
    uint16_t coarse[2];
    skv_codes(*block, codes);
    skv_scales(*block, coarse, (uint8_t*)fine);
    *scale++ = skv_coarse<Block>(coarse[0]);
    if constexpr (Block::kForm.has_minimum) {
      const float m = skv_f16_to_f32(coarse[1]);
      *minimum++ = groups > 1 ? -m : m;
    }
    if constexpr (groups > 1) fine += groups * step;
  }
}
