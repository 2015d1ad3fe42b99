// q5_0: 32 values as 5-bit codes around zero under one f16 scale.
//
// Block of 22 bytes: d (f16), qh (u32), then 16 bytes. Bit i of qh is the fifth (highest) bit of value i's
// code; its low four bits are the low half of qs[i] for i < 16 and the high half of qs[i - 16] after that. A
// value is d * (code - 16), code in [0, 31].
#ifdef X
X(q5_0, 6, 32, 22, 8, f16)
#else

struct __attribute__((packed)) skv_block_q5_0 {
  static constexpr skv_form kForm{.bits = 5, .group = 32, .offset = 16};
  uint16_t d;   // f16 scale
  uint32_t qh;  // highest bits
  uint8_t qs[16];
};

SKV_HD static inline void skv_decode_q5_0(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q5_0* block = (const struct skv_block_q5_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    const uint32_t high = block->qh;
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] & 15) | (int)((high >> i & 1u) << 4);
      out[i] = d * (float)(code - 16);
    }
    SKV_ROLLED
    for (int i = 0; i < 16; ++i) {
      const int code = (block->qs[i] >> 4) | (int)((high >> (i + 16) & 1u) << 4);
      out[i + 16] = d * (float)(code - 16);
    }
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q5_0& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
  skv_fifth_bits(block.qh, codes);
}

SKV_HD static inline void skv_scales(const struct skv_block_q5_0& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q5_0(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q5_0*>(row);
  int codes[32];
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    block->d = best_f16_scale(in, weights, best_scale<32>(in, weights, -16, 15), -16, 15);
    write_codes(in, skv_f16_to_f32(block->d), 0, -16, 15, codes);
    pack_nibbles(codes, block->qs);
    block->qh = fifth_bits(codes);
  }
}
#endif
#endif
