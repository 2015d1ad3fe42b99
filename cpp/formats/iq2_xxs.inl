// iq2_xxs: 256 values as signs and places of eight in a grid (grids.h) of 256; groups of 32 have a 4-bit
// scale under one f16 factor.
//
// Block of 66 bytes: d (f16), then 8 bytes a group: the grid's indices of its four times eight values, and a
// word (u32) with seven signs of each eight from the lowest bits up (an even number is negative) and the
// scale in its highest four bits. Magnitudes are 8, 25 and 43. A value is (d * (2 * scale + 1) / 8) *
// magnitude, with its sign.
#ifdef X
X(iq2_xxs, 16, 256, 66, 19, iq4_nl)
#else

#include "formats/grids.h"
#include "formats/signed_digits.h"

struct __attribute__((packed)) skv_block_iq2_xxs {
  static constexpr skv_form kForm{.bits = 3,
                                  .group = 16,
                                  .offset = 43,
                                  .has_levels = true,
                                  .levels = {-43, -25, -8, 8, 25, 43},
                                  .exponent = -3,
                                  .read_only = true};
  uint16_t d;  // f16 factor of the scales
  struct __attribute__((packed)) {
    uint8_t index[4];
    uint32_t signs;  // and the scale
  } groups[8];
};

SKV_HD static inline void skv_codes(const skv_block_iq2_xxs& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int i = 0; i < 32; ++i, codes += 8) {
    const auto& group = block.groups[i / 4];
    skv_signed_codes<3>(skv_spread_pairs(skv_grid_iq2_xxs(group.index[i % 4])),
                        skv_even_signs(group.signs >> (i % 4 * 7)), codes);
  }
}

// Two of 16 for each of 32.
SKV_HD static inline void skv_scales(const skv_block_iq2_xxs& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  SKV_ROLLED
  for (int g = 0; g < 16; ++g) fine[g] = (uint8_t)(2 * (block.groups[g / 2].signs >> 28) + 1);
}

SKV_HD static inline void skv_decode_iq2_xxs(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_iq2_xxs>(row, out, n);
}
#endif
