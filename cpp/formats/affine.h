// Quantised rows taken apart into what integer arithmetic wants: unsigned codes, and one scale and minimum
// for each group of codes. Value i of a row is scale[i / group] * codes[i] + minimum[i / group]; where a type
// has no minimum, it is -offset * scale. Plain C; the bit layouts are described in each type's .inl.
#pragma once

#include <stdint.h>

#include "formats/decode.h"

// codes [n], scale and minimum [n / group] out; minimum is written only by types that have one.
typedef void (*skv_affine_fn)(const void* row, int64_t n, uint8_t* codes, float* scale, float* minimum);

struct skv_affine {
  int bits;    // of a code; 0: the type is not quantised, and `unpack` is null
  int group;   // codes that share a scale, 16 or 32
  int offset;  // the code of zero; 0 where has_minimum
  int has_minimum;
  skv_affine_fn unpack;
};

SKV_HD static inline void skv_nibbles(const uint8_t* qs, uint8_t* __restrict codes) {
  for (int i = 0; i < 16; ++i) codes[i] = (uint8_t)(qs[i] & 15);
  for (int i = 0; i < 16; ++i) codes[i + 16] = (uint8_t)(qs[i] >> 4);
}
SKV_HD static inline void skv_fifth_bits(uint32_t high, uint8_t* __restrict codes) {
  for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(codes[i] | (high >> i & 1u) << 4);
}

SKV_HD static inline void skv_affine_q4_0(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* /*minimum*/) {
  const struct skv_block_q4_0* block = (const struct skv_block_q4_0*)row;
  for (; n > 0; n -= 32, codes += 32, ++block) {
    *scale++ = skv_f16_to_f32(block->d);
    skv_nibbles(block->qs, codes);
  }
}
SKV_HD static inline void skv_affine_q4_1(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* minimum) {
  const struct skv_block_q4_1* block = (const struct skv_block_q4_1*)row;
  for (; n > 0; n -= 32, codes += 32, ++block) {
    *scale++ = skv_f16_to_f32(block->d);
    *minimum++ = skv_f16_to_f32(block->m);
    skv_nibbles(block->qs, codes);
  }
}
SKV_HD static inline void skv_affine_q5_0(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* /*minimum*/) {
  const struct skv_block_q5_0* block = (const struct skv_block_q5_0*)row;
  for (; n > 0; n -= 32, codes += 32, ++block) {
    *scale++ = skv_f16_to_f32(block->d);
    skv_nibbles(block->qs, codes);
    skv_fifth_bits(block->qh, codes);
  }
}
SKV_HD static inline void skv_affine_q5_1(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* minimum) {
  const struct skv_block_q5_1* block = (const struct skv_block_q5_1*)row;
  for (; n > 0; n -= 32, codes += 32, ++block) {
    *scale++ = skv_f16_to_f32(block->d);
    *minimum++ = skv_f16_to_f32(block->m);
    skv_nibbles(block->qs, codes);
    skv_fifth_bits(block->qh, codes);
  }
}
SKV_HD static inline void skv_affine_q8_0(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* /*minimum*/) {
  const struct skv_block_q8_0* block = (const struct skv_block_q8_0*)row;
  for (; n > 0; n -= 32, codes += 32, ++block) {
    *scale++ = skv_f16_to_f32(block->d);
    for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(block->qs[i] ^ 0x80);
  }
}
SKV_HD static inline void skv_affine_q2_k(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* minimum) {
  const struct skv_block_q2_k* block = (const struct skv_block_q2_k*)row;
  for (; n > 0; n -= 256, ++block) {
    const float d = skv_f16_to_f32(block->d), dmin = skv_f16_to_f32(block->dmin);
    for (int group = 0; group < 16; ++group, codes += 16) {
      *scale++ = d * (float)(block->scales[group] & 15);
      *minimum++ = -dmin * (float)(block->scales[group] >> 4);
      const uint8_t* qs = block->qs + group / 8 * 32 + group % 2 * 16;
      for (int i = 0; i < 16; ++i) codes[i] = (uint8_t)(qs[i] >> (group / 2 % 4 * 2) & 3);
    }
  }
}
SKV_HD static inline void skv_affine_q3_k(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* /*minimum*/) {
  const struct skv_block_q3_k* block = (const struct skv_block_q3_k*)row;
  for (; n > 0; n -= 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    int8_t scales[16];
    skv_unpack_q3_k_scales(block->scales, scales);
    for (int group = 0; group < 16; ++group, codes += 16) {
      *scale++ = d * (float)scales[group];
      const uint8_t* qs = block->qs + group / 8 * 32 + group % 2 * 16;
      const uint8_t* high = block->hmask + group % 2 * 16;
      for (int i = 0; i < 16; ++i)
        codes[i] = (uint8_t)((qs[i] >> (group / 2 % 4 * 2) & 3) | (high[i] >> (group / 2) & 1) << 2);
    }
  }
}
SKV_HD static inline void skv_affine_q4_k(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* minimum) {
  const struct skv_block_q4_k* block = (const struct skv_block_q4_k*)row;
  for (; n > 0; n -= 256, ++block) {
    const float d = skv_f16_to_f32(block->d), dmin = skv_f16_to_f32(block->dmin);
    uint8_t scales[8], minimums[8];
    skv_unpack_k_scales(block->scales, scales, minimums);
    for (int group = 0; group < 8; ++group, codes += 32) {
      *scale++ = d * (float)scales[group];
      *minimum++ = -dmin * (float)minimums[group];
      const uint8_t* qs = block->qs + group / 2 * 32;
      for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(qs[i] >> (group % 2 * 4) & 15);
    }
  }
}
SKV_HD static inline void skv_affine_q5_k(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* minimum) {
  const struct skv_block_q5_k* block = (const struct skv_block_q5_k*)row;
  for (; n > 0; n -= 256, ++block) {
    const float d = skv_f16_to_f32(block->d), dmin = skv_f16_to_f32(block->dmin);
    uint8_t scales[8], minimums[8];
    skv_unpack_k_scales(block->scales, scales, minimums);
    for (int group = 0; group < 8; ++group, codes += 32) {
      *scale++ = d * (float)scales[group];
      *minimum++ = -dmin * (float)minimums[group];
      const uint8_t* qs = block->qs + group / 2 * 32;
      for (int i = 0; i < 32; ++i)
        codes[i] = (uint8_t)((qs[i] >> (group % 2 * 4) & 15) | (block->qh[i] >> group & 1) << 4);
    }
  }
}
SKV_HD static inline void skv_affine_q6_k(const void* row, int64_t n, uint8_t* codes, float* scale,
                                          float* /*minimum*/) {
  const struct skv_block_q6_k* block = (const struct skv_block_q6_k*)row;
  for (; n > 0; n -= 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    for (int group = 0; group < 16; ++group, codes += 16) {
      *scale++ = d * (float)block->scales[group];
      const int half = group / 8, j = group / 2 % 4, first = group % 2 * 16;
      const uint8_t* low = block->ql + half * 64 + j % 2 * 32 + first;
      const uint8_t* high = block->qh + half * 32 + first;
      for (int i = 0; i < 16; ++i)
        codes[i] = (uint8_t)((low[i] >> (j / 2 * 4) & 15) | (high[i] >> (j * 2) & 3) << 4);
    }
  }
}
