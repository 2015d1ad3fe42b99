// q4_0: 32 values as 4-bit codes around zero under one f16 scale.
//
// Block of 18 bytes: d (f16), then 16 bytes of codes. Byte i holds the code of value i in its low half and
// that of value i + 16 in its high half. A value is d * (code - 8), code in [0, 15].
#ifdef X
X(q4_0, 2, 32, 18, 2, f16)
#else

struct __attribute__((packed)) skv_block_q4_0 {
  static constexpr skv_form kForm{.bits = 4, .group = 32, .offset = 8};
  uint16_t d;  // f16 scale
  uint8_t qs[16];
};

SKV_HD static inline void skv_decode_q4_0(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q4_0* block = (const struct skv_block_q4_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i] = d * (float)((block->qs[i] & 15) - 8);
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) out[i + 16] = d * (float)((block->qs[i] >> 4) - 8);
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q4_0& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
}

SKV_HD static inline void skv_scales(const struct skv_block_q4_0& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q4_0(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q4_0*>(row);
  int codes[32];
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    block->d = best_f16_scale(in, weights, best_scale<32>(in, weights, -8, 7), -8, 7);
    write_codes(in, skv_f16_to_f32(block->d), 0, -8, 7, codes);
    pack_nibbles(codes, block->qs);
  }
}
#endif
#endif
