// q2_k: 256 values as 2-bit codes; groups of 16 have a 4-bit scale and a 4-bit minimum, the block an f16
// factor for each.
//
// Block of 84 bytes: 16 bytes, one a group, scale in the low half and minimum in the high half; 64 bytes of
// codes; d (f16); dmin (f16). The codes come in two halves of 128 values and 32 bytes: byte l of a half holds
// in its bit pair j (j = 0 lowest) the code of the half's value 32 j + l. A value is (d * scale) * code -
// (dmin * minimum); all products are exact in f32, so only the difference rounds.
#ifdef X
X(q2_k, 10, 256, 84, 10, q4_0)
#else

struct __attribute__((packed)) skv_block_q2_k {
  static constexpr skv_form kForm{.bits = 2, .group = 16, .has_minimum = true};
  uint8_t scales[16];
  uint8_t qs[64];
  uint16_t d;     // f16 factor of the scales
  uint16_t dmin;  // f16 factor of the minimums
};

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

SKV_HD static inline void skv_codes(const struct skv_block_q2_k& block, uint8_t* __restrict codes) {
  for (int group = 0; group < 16; ++group, codes += 16) {
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    for (int i = 0; i < 16; ++i) codes[i] = (uint8_t)(qs[i] >> (group / 2 % 4 * 2) & 3);
  }
}

SKV_HD static inline void skv_scales(const struct skv_block_q2_k& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  coarse[1] = block.dmin;
  for (int g = 0; g < 16; ++g) {
    fine[2 * g] = block.scales[g] & 15;
    fine[2 * g + 1] = block.scales[g] >> 4;
  }
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q2_k(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q2_k*>(row);
  float code[16];
  for (; n > 0; n -= 256, in += 256, weights += 256, ++block) {
    const AffineBlock<16, 3, 15> found(in, weights);
    block->d = found.d_bits;
    block->dmin = found.dmin_bits;
    __builtin_memset(block->qs, 0, sizeof(block->qs));
    for (int group = 0; group < 16; ++group) {
      block->scales[group] = static_cast<uint8_t>(found.scale[group] | found.minimum[group] << 4);
      found.codes(group, code);
      for (int i = 0; i < 16; ++i) {
        uint8_t& pairs = block->qs[group / 8 * 32 + group % 2 * 16 + i];
        pairs = static_cast<uint8_t>(pairs | static_cast<int>(code[i]) << group / 2 % 4 * 2);
      }
    }
  }
}
#endif
#endif
