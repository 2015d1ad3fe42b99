// How a quantised weight type looks to integer arithmetic: unsigned codes, and scales for groups of them.
// Host and device, no STL.
//
// A type's file has, besides its block's kForm, two functions of a block:
//     skv_codes(block, codes)            codes [values of the block], in the order of the values
//     skv_scales(block, coarse, fine)    coarse [1 or 2]: the f16 factors of the scales and, where the type
//         has minimums, of the minimums.
//         fine, where a block has several groups: for each the scale as a byte, signed where there are no
//         minimums; where there are, the minimum as a byte behind it.
//
// A value is scale * (code - offset), scale = coarse[0] or coarse[0] * fine, times 2^exponent. A type with
// minimums has offset 0: the value is scale * code + coarse[1] where a block is one group, scale * code -
// coarse[1] * fine[next] otherwise.
//
// Codes of a type with a table are places in it: the value is scale * levels[code].
#pragma once

#include <stdint.h>

#include "base/half.h"

struct skv_form {
  int bits = 0;    // of a code: 2 to 6 or 8; 0: values are floats, and the two functions do not exist
  int group = 0;   // codes that share a scale, 16 or 32
  int offset = 0;  // the code of zero; 0 where has_minimum, 128 for 8 bits
  bool has_minimum = false;  // a group has one, which its values are above
  // Codes of 3 or 4 bits may be places in a table of whole numbers, none below -offset or above 255 - offset.
  bool has_levels = false;
  int8_t levels[16] = {};
  int exponent = 0;          // every scale is 2^exponent times what coarse and fine say
  bool coarse_bf16 = false;  // coarse is bf16 in place of f16
  bool read_only = false;    // files have it, we do not write it: the type has no encoder
};

// What the coarse factor of a block of this form stands for.
template <class Block>
SKV_HD static inline float skv_coarse(uint16_t bits) {
  const float factor = Block::kForm.coarse_bf16 ? skv_bf16_to_f32(bits) : skv_f16_to_f32(bits);
  constexpr int exponent = Block::kForm.exponent;
  if constexpr (exponent < 0) return factor * (1.0f / (float)(1 << -exponent));
  return factor;
}

// Codes as many types hold them: 16 bytes with the low four bits of values 0 to 15 in their low halves and
// those of values 16 to 31 in their high halves,
SKV_HD static inline void skv_nibbles(const uint8_t* qs, uint8_t* __restrict codes) {
  for (int i = 0; i < 16; ++i) codes[i] = (uint8_t)(qs[i] & 15);
  for (int i = 0; i < 16; ++i) codes[i + 16] = (uint8_t)(qs[i] >> 4);
}
// and the fifth bit of value i in bit i.
SKV_HD static inline void skv_fifth_bits(uint32_t high, uint8_t* __restrict codes) {
  for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(codes[i] | (high >> i & 1u) << 4);
}
