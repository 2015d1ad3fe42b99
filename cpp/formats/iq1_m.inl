// iq1_m: 256 values as places of eight in iq1_s's grid, with a shift for each eight; groups of 16 have a
// 3-bit scale under one f16 factor.
//
// Block of 56 bytes: 32 bytes with the low bits of the grid's indices, one for eight values, 16 bytes with a
// half for each eight (half i % 2 of byte i / 2): the index's upper three bits and, highest, the shift's
// sign; four words (u16) with the scales of four groups each from the lowest bits up, and in their highest
// halves, lowest first, d (f16). Values are as in iq1_s.
#ifdef X
X(iq1_m, 29, 256, 56, 31, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq1_m {
  static constexpr skv_form kForm = skv_block_iq1_s::kForm;
  uint8_t index[32];
  uint8_t index_h[16];
  uint16_t scales[4];
};

SKV_HD static inline void skv_codes(const skv_block_iq1_m& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const int half = block.index_h[i / 2] >> (i % 2 * 4) & 15;
    skv_shifted_codes(block.index[i] | (half & 7) << 8, half < 8, codes);
  }
}

SKV_HD static inline void skv_scales(const skv_block_iq1_m& block, uint16_t* coarse, uint8_t* fine) {
  unsigned d = 0;
  for (int i = 0; i < 4; ++i) d |= (unsigned)(block.scales[i] >> 12) << 4 * i;
  coarse[0] = (uint16_t)d;
  SKV_ROLLED
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)(2 * (block.scales[g / 4] >> (g % 4 * 3) & 7) + 1);
}

SKV_HD static inline void skv_decode_iq1_m(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq1_m>(row, out, n);
}
#endif
