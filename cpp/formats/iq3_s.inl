// iq3_s: 256 values as signs and places of four in a grid (grids.h) of 512; groups of 32 have a 4-bit scale
// under one f16 factor.
//
// Block of 110 bytes: d (f16), 64 bytes with the low bits of the grid's indices, one for four values, 8 bytes
// with their ninth bits (bit i % 8 of byte i / 8), 32 bytes of signs (bit k of byte i: value 8 i + k is
// negative), 4 bytes of scales (half g % 2 of byte g / 2). Magnitudes are 1, 3, 5, ... 15. A value is (d * (2
// * scale + 1)) * magnitude, with its sign.
#ifdef X
X(iq3_s, 21, 256, 110, 26, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq3_s {
  static constexpr skv_form kForm{.bits = 4,
                                  .group = 32,
                                  .offset = 15,
                                  .has_levels = true,
                                  .levels = {-15, -13, -11, -9, -7, -5, -3, -1, 1, 3, 5, 7, 9, 11, 13, 15},
                                  .read_only = true};
  uint16_t d;  // f16 factor of the scales
  uint8_t index[64];
  uint8_t index_h[8];
  uint8_t signs[32];
  uint8_t scales[4];
};

SKV_HD static inline void skv_codes(const skv_block_iq3_s& block, uint8_t* __restrict codes) {
  const auto member = [&](int i) {
    return skv_grid_iq3_s(block.index[i] | (block.index_h[i / 8] >> i % 8 & 1) << 8);
  };
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8)
    skv_signed_codes<8>(skv_spread_nibbles(member(2 * i), member(2 * i + 1)), block.signs[i], codes);
}

SKV_HD static inline void skv_scales(const skv_block_iq3_s& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 8; ++g) fine[g] = (uint8_t)(2 * (block.scales[g / 2] >> (g % 2 * 4) & 15) + 1);
}

SKV_HD static inline void skv_decode_iq3_s(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq3_s>(row, out, n);
}
#endif
