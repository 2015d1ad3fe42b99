// q8_0: 32 values as signed bytes under one f16 scale.
//
// Block of 34 bytes: d (f16), then 32 int8. Value i is d * qs[i].
#ifdef X
X(q8_0, 8, 32, 34, 7, f16)
#else

struct __attribute__((packed)) skv_block_q8_0 {
  static constexpr skv_form kForm{.bits = 8, .group = 32, .offset = 128};
  uint16_t d;  // f16 scale
  int8_t qs[32];
};

SKV_HD static inline void skv_decode_q8_0(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_q8_0* block = (const struct skv_block_q8_0*)row;
  for (; n > 0; n -= 32, out += 32, ++block) {
    const float d = skv_f16_to_f32(block->d);
    for (int i = 0; i < 32; ++i) out[i] = d * (float)block->qs[i];
  }
}

SKV_HD static inline void skv_codes(const struct skv_block_q8_0& block, uint8_t* __restrict codes) {
  for (int i = 0; i < 32; ++i) codes[i] = (uint8_t)(block.qs[i] ^ 0x80);
}

SKV_HD static inline void skv_scales(const struct skv_block_q8_0& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_q8_0(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_q8_0*>(row);
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    float extreme = 0;
    for (int i = 0; i < 32; ++i) extreme = std::fmax(extreme, std::fabs(in[i]));
    // 127 steps reach the extreme; a finer scale would cut it, which never pays at 8 bits.
    block->d = best_f16_scale(in, weights, extreme / 127, -127, 127);
    const float inv = inverse(skv_f16_to_f32(block->d));
    for (int i = 0; i < 32; ++i) block->qs[i] = static_cast<int8_t>(clamped(nearest(in[i] * inv), -127, 127));
  }
}
#endif
#endif
