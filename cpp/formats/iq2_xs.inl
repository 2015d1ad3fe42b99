// iq2_xs: 256 values as signs and places of eight in a grid (grids.h) of 512; groups of 16 have a 4-bit scale
// under one f16 factor.
//
// Block of 74 bytes: d (f16), 32 words (u16), one for eight values, 8 bytes of scales. A word has the grid's
// index in its lowest nine bits and seven signs above them (an even number of the eight is negative). The
// scale of group g is half g % 2 of byte g / 2. Values are as in iq2_xxs.
#ifdef X
X(iq2_xs, 17, 256, 74, 20, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq2_xs {
  static constexpr skv_form kForm = skv_block_iq2_xxs::kForm;
  uint16_t d;  // f16 factor of the scales
  uint16_t qs[32];
  uint8_t scales[8];
};

SKV_HD static inline void skv_codes(const skv_block_iq2_xs& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const unsigned word = block.qs[i];
    skv_signed_codes<3>(skv_spread_pairs(skv_grid_iq2_xs((int)(word & 511u))), skv_even_signs(word >> 9),
                        codes);
  }
}

SKV_HD static inline void skv_scales(const skv_block_iq2_xs& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  SKV_ROLLED
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)(2 * (block.scales[g / 2] >> (g % 2 * 4) & 15) + 1);
}

SKV_HD static inline void skv_decode_iq2_xs(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq2_xs>(row, out, n);
}
#endif
