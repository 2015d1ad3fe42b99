// q6_k: 256 values as 6-bit codes around zero; groups of 16 have a signed byte as scale under one f16 factor.
//
// Block of 210 bytes: 128 bytes of low halves, 64 bytes of high bit pairs, 16 int8 scales, d (f16). Both come
// in two halves of 128 values. In a half (64 bytes ql, 32 bytes qh) the value 32 j + l (j = 0 to 3, l = 0 to
// 31) has its low four bits in byte 32 (j % 2) + l of ql, in the low half for j < 2 and the high half after
// that, and its upper two bits in bit pair j of qh[l]. A value is (d * scale) * (code - 32), code in [0, 63].
#ifdef X
X(q6_k, 14, 256, 210, 18, q8_0)
#else

struct __attribute__((packed)) skv_block_q6_k {
  static constexpr skv_form kForm{.bits = 6, .group = 16, .offset = 32};
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  uint16_t d;  // f16 factor of the scales
};

SKV_HD static inline void skv_decode_q6_k(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q6_k* block = (const struct skv_block_q6_k*)row;
  for (; n > 0; n -= 256, out += 256, ++block) {
    const float d = skv_f16_to_f32(block->d);
    for (int group = 0; group < 16; ++group) {
      const float scale = d * (float)block->scales[group];
      const int half = group / 8, j = group / 2 % 4, first = group % 2 * 16;
      const uint8_t* low = block->ql + half * 64 + j % 2 * 32 + first;
      const uint8_t* high = block->qh + half * 32 + first;
      const int low_shift = j / 2 * 4, high_shift = j * 2;
      float* __restrict to = out + 16 * group;
      SKV_ROLLED
      for (int i = 0; i < 16; ++i) {
        const int code = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
        to[i] = scale * (float)(code - 32);
      }
    }
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q6_k& block, uint8_t* __restrict codes) {
  for (int half = 0; half < 2; ++half, codes += 128) {
    const uint8_t *low = block.ql + half * 64, *high = block.qh + half * 32;
    for (int l = 0; l < 32; ++l) codes[l] = (uint8_t)((low[l] & 15) | (high[l] & 3) << 4);
    for (int l = 0; l < 32; ++l) codes[32 + l] = (uint8_t)((low[32 + l] & 15) | (high[l] >> 2 & 3) << 4);
    for (int l = 0; l < 32; ++l) codes[64 + l] = (uint8_t)(low[l] >> 4 | (high[l] >> 4 & 3) << 4);
    for (int l = 0; l < 32; ++l) codes[96 + l] = (uint8_t)(low[32 + l] >> 4 | high[l] >> 6 << 4);
  }
}

SKV_HD static inline void skv_scales(const struct skv_block_q6_k& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)block.scales[g];
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q6_k(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q6_k*>(row);
  int code[16];
  for (; n > 0; n -= 256, in += 256, weights += 256, ++block) {
    const SignedBlock<EvenSteps<31>, 127> found(in, weights);
    block->d = found.d_bits;
    __builtin_memset(block->ql, 0, sizeof(block->ql));
    __builtin_memset(block->qh, 0, sizeof(block->qh));
    for (int group = 0; group < 16; ++group) {
      block->scales[group] = static_cast<int8_t>(found.scale[group]);
      found.codes(group, code);
      const int half = group / 8, j = group / 2 % 4, first = group % 2 * 16;
      for (int i = 0; i < 16; ++i) {
        uint8_t& low = block->ql[half * 64 + j % 2 * 32 + first + i];
        uint8_t& high = block->qh[half * 32 + first + i];
        low = static_cast<uint8_t>(low | (code[i] & 15) << j / 2 * 4);
        high = static_cast<uint8_t>(high | code[i] >> 4 << 2 * j);
      }
    }
  }
}
#endif
#endif
