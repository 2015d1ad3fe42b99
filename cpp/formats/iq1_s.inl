// iq1_s: 256 values as places of eight in a grid (grids.h) of 2048; groups of 32 have a 3-bit scale and a
// shift under one f16 factor.
//
// Block of 50 bytes: d (f16), 32 bytes with the low bits of the grid's indices, one for eight values, then a
// word (u16) a group: the indices' upper three bits from the lowest bits up, the scale in the three bits from
// 12 on, the shift's sign in the highest. The grid's digits stand for -1, 0 and 1; the shift is 1/8 or, with
// the sign, -1/8. A value is (d * (2 * scale + 1)) * (digit + shift), so it has one of six levels of an
// eighth.
#ifdef X
X(iq1_s, 19, 256, 50, 24, iq4_nl)
#else

struct __attribute__((packed)) skv_block_iq1_s {
  static constexpr skv_form kForm{.bits = 3,
                                  .group = 16,
                                  .offset = 9,
                                  .has_levels = true,
                                  .levels = {-9, -7, -1, 1, 7, 9},
                                  .exponent = -3,
                                  .read_only = true};
  uint16_t d;  // f16 factor of the scales
  uint8_t index[32];
  uint16_t groups[8];
};

// Eight codes: 2 * digit, and 1 more where the shift is up.
SKV_HD static inline void skv_shifted_codes(int index, bool up, uint8_t* codes) {
  const uint64_t eight = 2 * skv_spread_pairs(skv_grid_iq1_s(index)) + (up ? 0x0101010101010101ull : 0);
  __builtin_memcpy(codes, &eight, 8);
}

SKV_HD static inline void skv_codes(const skv_block_iq1_s& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const int word = block.groups[i / 4];
    skv_shifted_codes(block.index[i] | (word >> (i % 4 * 3) & 7) << 8, word < 0x8000, codes);
  }
}

// Two of 16 for each of 32.
SKV_HD static inline void skv_scales(const skv_block_iq1_s& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  SKV_ROLLED
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)(2 * (block.groups[g / 2] >> 12 & 7) + 1);
}

SKV_HD static inline void skv_decode_iq1_s(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq1_s>(row, out, n);
}
#endif
