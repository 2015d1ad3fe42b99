// The decoder of the types whose file gives codes and scales apart (form.h) and no decoder of its own.
#pragma once

#include <stdint.h>

#include "formats/form.h"

// Values in a block, by its struct: decode.h has them from the rows of list.def.
template <class Block>
struct skv_block_values;

// What code c of a block stands for, before its scale.
template <class Block>
struct skv_code_values {
  float value[16];
};
template <class Block>
SKV_HD constexpr skv_code_values<Block> skv_values_of_codes() {
  constexpr skv_form form = Block::kForm;
  skv_code_values<Block> table{};
  for (int c = 0; c < 16; ++c) table.value[c] = (float)(form.has_levels ? form.levels[c] : c - form.offset);
  return table;
}

// Of types without minimums and with codes of at most 4 bits; n values, a multiple of the block.
template <class Block>
SKV_HD static inline void skv_decode_codes(const void* row, float* __restrict out, int64_t n) {
  constexpr int values = skv_block_values<Block>::k, group = Block::kForm.group, groups = values / group;
  const skv_code_values<Block> table = skv_values_of_codes<Block>();
  const Block* block = (const Block*)row;
  for (; n > 0; n -= values, ++block) {
    uint8_t codes[values], fine[groups];
    uint16_t coarse[1];
    skv_codes(*block, codes);
    skv_scales(*block, coarse, fine);
    const float d = skv_coarse<Block>(coarse[0]);
    for (int g = 0; g < groups; ++g, out += group) {
      const float scale = groups > 1 ? d * (float)(int8_t)fine[g] : d;
      SKV_ROLLED
      for (int i = 0; i < group; ++i) out[i] = scale * table.value[codes[g * group + i]];
    }
  }
}
