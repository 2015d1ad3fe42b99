// iq3_xxs: 256 values as signs and places of four in a grid (grids.h) of 256; groups of 32 have a 4-bit scale
// under one f16 factor.
//
// Block of 98 bytes: d (f16), 64 bytes with the grid's indices, one for four values, then a word (u32) a
// group: seven signs of each eight values from the lowest bits up (an even number is negative) and the scale
// in the highest four bits. Magnitudes are 4, 12, 20, 28, 36, 44, 52 and 62. A value is (d * (2 * scale + 1)
// / 4) * magnitude, with its sign.
#ifdef X
X(iq3_xxs, 18, 256, 98, 23, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq3_xxs {
  static constexpr skv_form kForm{
      .bits = 4,
      .group = 32,
      .offset = 62,
      .has_levels = true,
      .levels = {-62, -52, -44, -36, -28, -20, -12, -4, 4, 12, 20, 28, 36, 44, 52, 62},
      .exponent = -2,
      .read_only = true};
  uint16_t d;  // f16 factor of the scales
  uint8_t index[64];
  uint32_t signs[8];  // and the scales
};

SKV_HD static inline void skv_codes(const skv_block_iq3_xxs& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const uint16_t a = skv_grid_iq3_xxs(block.index[2 * i]), b = skv_grid_iq3_xxs(block.index[2 * i + 1]);
    skv_signed_codes<8>(skv_spread_nibbles(a, b), skv_even_signs(block.signs[i / 4] >> (i % 4 * 7)), codes);
  }
}

SKV_HD static inline void skv_scales(const skv_block_iq3_xxs& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 8; ++g) fine[g] = (uint8_t)(2 * (block.signs[g] >> 28) + 1);
}

SKV_HD static inline void skv_decode_iq3_xxs(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq3_xxs>(row, out, n);
}
#endif
