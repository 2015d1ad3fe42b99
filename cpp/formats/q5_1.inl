// q5_1: 32 values as 5-bit codes above a minimum.
//
// Block of 24 bytes: d (f16), m (f16), qh (u32), then 16 bytes. Codes as in q5_0: bit i of qh is the highest
// bit of value i's code, the low four bits are the low half of qs[i] for i < 16 and the high half of qs[i -
// 16] after that. A value is d * code + m; the product is exact in f32, so only the sum
// rounds.
#ifdef X
X(q5_1, 7, 32, 24, 9, f16)
#else

struct __attribute__((packed)) skv_block_q5_1 {
  static constexpr skv_form kForm{.bits = 5, .group = 32, .has_minimum = true};
  uint16_t d;   // f16 scale
  uint16_t m;   // f16 minimum
  uint32_t qh;  // highest bits
  uint8_t qs[16];
};

SKV_HD static inline void skv_decode_q5_1(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q5_1* block = (const struct skv_block_q5_1*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float m = skv_f16_to_f32(block->m);
    const uint32_t high = block->qh;
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] & 15) | (int)((high >> i & 1u) << 4);
      out[i] = d * (float)code + m;
    }
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] >> 4) | (int)((high >> (i + 16) & 1u) << 4);
      out[i + 16] = d * (float)code + m;
    }
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q5_1& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
  skv_fifth_bits(block.qh, codes);
}

SKV_HD static inline void skv_scales(const struct skv_block_q5_1& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
  coarse[1] = block.m;
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q5_1(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q5_1*>(row);
  int codes[32];
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    const AffineF16 fit = affine_f16(in, weights, 31);
    block->d = fit.scale;
    block->m = fit.offset;
    write_codes(in, skv_f16_to_f32(fit.scale), skv_f16_to_f32(fit.offset), 0, 31, codes);
    pack_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}
#endif
#endif
