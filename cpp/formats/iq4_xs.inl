// iq4_xs: 256 values as places in iq4_nl's table of levels; groups of 32 have a signed 6-bit scale under one
// f16 factor.
//
// Block of 136 bytes: d (f16), the scales' upper bit pairs (u16), 4 bytes of their low halves, 128 bytes of
// codes. The scale of group g is stored with 32 added: its low four bits are half g % 2 of byte g / 2, its
// upper two the bit pair g. Groups follow each other with 16 bytes of codes each, as in iq4_nl. A value is (d
// * scale) * level[code].
#ifdef X
X(iq4_xs, 23, 256, 136, 30, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq4_xs {
  static constexpr skv_form kForm = skv_block_iq4_nl::kForm;
  uint16_t d;  // f16 factor of the scales
  uint16_t scales_h;
  uint8_t scales_l[4];
  uint8_t qs[128];
};

SKV_HD static inline void skv_codes(const skv_block_iq4_xs& block, uint8_t* __restrict codes) {
  for (int group = 0; group < 8; ++group) skv_nibbles(block.qs + 16 * group, codes + 32 * group);
}

SKV_HD static inline void skv_scales(const skv_block_iq4_xs& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 8; ++g) {
    const int low = block.scales_l[g / 2] >> (g % 2 * 4) & 15, high = block.scales_h >> (2 * g) & 3;
    fine[g] = (uint8_t)((low | high << 4) - 32);
  }
}

SKV_HD static inline void skv_decode_iq4_xs(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq4_xs>(row, out, n);
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_iq4_xs(const float* in, const float* weights, void* row, int64_t n) {
  using namespace encode;
  auto* block = static_cast<skv_block_iq4_xs*>(row);
  int codes[32];
  for (; n > 0; n -= 256, in += 256, weights += 256, ++block) {
    const SignedBlock<TableSteps<skv_block_iq4_xs::kForm>, 31> found(in, weights);
    block->d = found.d_bits;
    block->scales_h = 0;
    __builtin_memset(block->scales_l, 0, sizeof(block->scales_l));
    for (int g = 0; g < 8; ++g) {
      const int stored = found.scale[g] + 32;
      block->scales_h = static_cast<uint16_t>(block->scales_h | stored >> 4 << (2 * g));
      block->scales_l[g / 2] = static_cast<uint8_t>(block->scales_l[g / 2] | (stored & 15) << (g % 2 * 4));
      found.codes(g, codes);
      pack_nibbles(codes, block->qs + 16 * g);
    }
  }
}
#endif
#endif
