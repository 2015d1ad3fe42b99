// q3_k: 256 values as 3-bit codes around zero; groups of 16 have a signed 6-bit scale under one f16 factor.
//
// Block of 110 bytes: 32 bytes of high bits, 64 bytes of low bit pairs, 12 bytes of scales, d (f16).
// The low pairs come in two halves of 128 values and 32 bytes: byte l of a half holds in its bit pair j (j =
// 0 lowest) those of the half's value 32 j + l. Bit k of hmask[l] is the high bit of value 32 k + l. A code
// is low + 4 * high - 4. Scale g (0 to 15) is stored with 32 added: its low four bits are the low half of
// byte g for g < 8 and the high half of byte g - 8 after that, its upper two bits are bit pair g / 4 of byte
// 8 + g % 4. A value is (d * scale) * code.
#ifdef X
X(q3_k, 11, 256, 110, 11, q4_0)
#else

struct __attribute__((packed)) skv_block_q3_k {
  static constexpr skv_form kForm{.bits = 3, .group = 16, .offset = 4};
  uint8_t hmask[32];
  uint8_t qs[64];
  uint8_t scales[12];
  uint16_t d;  // f16 factor of the scales
};

// The 16 scales, in [-32, 31].
SKV_HD static inline void skv_unpack_q3_k_scales(const uint8_t packed[12], int8_t scale[16]) {
  for (int g = 0; g < 16; ++g) {
    const int low = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
    const int high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
    scale[g] = (int8_t)((low | high << 4) - 32);
  }
}

SKV_HD static inline void skv_decode_q3_k(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q3_k* block = (const struct skv_block_q3_k*)row;
  for (; n > 0; n -= 256, out += 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    int8_t scales[16];
    skv_unpack_q3_k_scales(block->scales, scales);
    for (int group = 0; group < 16; ++group) {
      const float scale = d * (float)scales[group];
      const uint8_t* qs = block->qs + group / 8 * 32 + group % 2 * 16;
      const uint8_t* high = block->hmask + group % 2 * 16;
      const int shift = group / 2 % 4 * 2, bit = group / 2;
      float* __restrict to = out + 16 * group;
      SKV_ROLLED
      for (int i = 0; i < 16; ++i) {
        const int code = (qs[i] >> shift & 3) + ((high[i] >> bit & 1) << 2) - 4;
        to[i] = scale * (float)code;
      }
    }
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q3_k& block, uint8_t* __restrict codes) {
  for (int group = 0; group < 16; ++group, codes += 16) {
    const uint8_t* qs = block.qs + group / 8 * 32 + group % 2 * 16;
    const uint8_t* high = block.hmask + group % 2 * 16;
    for (int i = 0; i < 16; ++i)
      codes[i] = (uint8_t)((qs[i] >> (group / 2 % 4 * 2) & 3) | (high[i] >> (group / 2) & 1) << 2);
  }
}

SKV_HD static inline void skv_scales(const struct skv_block_q3_k& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  int8_t scale[16];
  skv_unpack_q3_k_scales(block.scales, scale);
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)scale[g];
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q3_k(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q3_k*>(row);
  int code[16];
  for (; n > 0; n -= 256, in += 256, weights += 256, ++block) {
    const SignedBlock<EvenSteps<3>, 31> found(in, weights);
    block->d = found.d_bits;
    __builtin_memset(block->hmask, 0, sizeof(block->hmask));
    __builtin_memset(block->qs, 0, sizeof(block->qs));
    __builtin_memset(block->scales, 0, sizeof(block->scales));
    for (int group = 0; group < 16; ++group) {
      const int stored = found.scale[group] + 32;
      uint8_t& low = block->scales[group % 8];
      uint8_t& high = block->scales[8 + group % 4];
      low = static_cast<uint8_t>(low | (stored & 15) << group / 8 * 4);
      high = static_cast<uint8_t>(high | stored >> 4 << group / 4 * 2);
      found.codes(group, code);
      for (int i = 0; i < 16; ++i) {
        const int at = group % 2 * 16 + i;
        uint8_t& pairs = block->qs[group / 8 * 32 + at];
        pairs = static_cast<uint8_t>(pairs | (code[i] & 3) << group / 2 % 4 * 2);
        block->hmask[at] = static_cast<uint8_t>(block->hmask[at] | code[i] >> 2 << group / 2);
      }
    }
  }
}
#endif
#endif
