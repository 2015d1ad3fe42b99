// iq2_s: 256 values as signs and places of eight in a grid (grids.h) of 1024; groups of 16 have a 4-bit scale
// under one f16 factor.
//
// Block of 82 bytes: d (f16), 32 bytes with the low bits of the grid's indices, one for eight values, 32
// bytes of signs (bit k of byte i: value 8 i + k is negative), 8 bytes with the indices' upper bits (bit pair
// i % 4 of byte i / 4), 8 bytes of scales as in iq2_xs. Values are as in iq2_xxs.
#ifdef X
X(iq2_s, 22, 256, 82, 28, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq2_s {
  static constexpr skv_form kForm = skv_block_iq2_xxs::kForm;
  uint16_t d;  // f16 factor of the scales
  uint8_t index[32];
  uint8_t signs[32];
  uint8_t index_h[8];
  uint8_t scales[8];
};

SKV_HD static inline void skv_codes(const skv_block_iq2_s& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const int index = block.index[i] | (block.index_h[i / 4] >> (i % 4 * 2) & 3) << 8;
    skv_signed_codes<3>(skv_spread_pairs(skv_grid_iq2_s(index)), block.signs[i], codes);
  }
}

SKV_HD static inline void skv_scales(const skv_block_iq2_s& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  SKV_ROLLED
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)(2 * (block.scales[g / 2] >> (g % 2 * 4) & 15) + 1);
}

SKV_HD static inline void skv_decode_iq2_s(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq2_s>(row, out, n);
}
#endif
