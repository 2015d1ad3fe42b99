// q4_1: 32 values as 4-bit codes above a minimum.
//
// Block of 20 bytes: d (f16), m (f16), then 16 bytes of codes. Byte i holds the code of value i in its low
// half and that of value i + 16 in its high half. A value is d * code + m; the product is exact in f32, so
// only the sum rounds.
#ifdef X
X(q4_1, 3, 32, 20, 3, f16)
#else

struct __attribute__((packed)) skv_block_q4_1 {
  static constexpr skv_form kForm{.bits = 4, .group = 32, .has_minimum = true};
  uint16_t d;  // f16 scale
  uint16_t m;  // f16 minimum
  uint8_t qs[16];
};

SKV_HD static inline void skv_decode_q4_1(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q4_1* block = (const struct skv_block_q4_1*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const float m = skv_f16_to_f32(block->m);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i] = d * (float)(block->qs[i] & 15) + m;
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i + 16] = d * (float)(block->qs[i] >> 4) + m;
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q4_1& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
}

SKV_HD static inline void skv_scales(const struct skv_block_q4_1& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
  coarse[1] = block.m;
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q4_1(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q4_1*>(row);
  int codes[32];
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    const AffineF16 fit = affine_f16(in, weights, 15);
    block->d = fit.scale;
    block->m = fit.offset;
    write_codes(in, skv_f16_to_f32(fit.scale), skv_f16_to_f32(fit.offset), 0, 15, codes);
    pack_nibbles(codes, block->qs);
  }
}
#endif
#endif
