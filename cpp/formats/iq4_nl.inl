// iq4_nl: 32 values as places in a table of 16 levels under one f16 scale.
//
// Block of 18 bytes: d (f16), then 16 bytes of codes as in q4_0: byte i holds the code of value i in its low
// half and that of value i + 16 in its high half. A value is d * level[code]; the levels lie closer around
// zero.
#ifdef X
X(iq4_nl, 20, 32, 18, 25, f16)
#else

struct __attribute__((packed)) skv_block_iq4_nl {
  static constexpr skv_form kForm{
      .bits = 4,
      .group = 32,
      .offset = 128,
      .has_levels = true,
      .levels = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};
  uint16_t d;  // f16 scale
  uint8_t qs[16];
};

SKV_HD static inline void skv_codes(const skv_block_iq4_nl& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
}

SKV_HD static inline void skv_scales(const skv_block_iq4_nl& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = block.d;
}

SKV_HD static inline void skv_decode_iq4_nl(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq4_nl>(row, out, n);
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_iq4_nl(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  using Steps = TableSteps<skv_block_iq4_nl::kForm>;
  auto* block = static_cast<skv_block_iq4_nl*>(row);
  int codes[32];
  for (; n > 0; n -= 32, in += 32, weights += 32, ++block) {
    // The f16 number beside the best scale that loses least.
    const uint16_t start = skv_f32_to_f16(Steps::best_scale(in, weights));
    float least = INFINITY;
    for (int step = -1; step <= 1; ++step) {
      const auto bits = static_cast<uint16_t>(start + step);
      const float scale = skv_f16_to_f32(bits);
      if (!std::isfinite(scale)) continue;
      const float error = Steps::error(in, weights, scale);
      if (error < least) least = error, block->d = bits;
    }
    Steps::codes(in, skv_f16_to_f32(block->d), codes);
    pack_nibbles(codes, block->qs);
  }
}
#endif
#endif
