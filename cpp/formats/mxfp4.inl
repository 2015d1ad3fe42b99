// mxfp4: 32 values as 4-bit floats (1 sign, 2 exponent, 1 mantissa bit) under one power of two.
//
// Block of 17 bytes: the power's exponent e, then 16 bytes of codes as in q4_0. A value is 2^(e - 128) *
// level[code], where the levels are twice the floats: 0, 1, 2, 3, 4, 6, 8, 12, and the same with the sign.
#ifdef X
X(mxfp4, 39, 32, 17, 38, f16)
#else

struct __attribute__((packed)) skv_block_mxfp4 {
  static constexpr skv_form kForm{.bits = 4,
                                  .group = 32,
                                  .offset = 12,
                                  .has_levels = true,
                                  .levels = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12},
                                  .coarse_bf16 = true,
                                  .read_only = true};
  uint8_t e;
  uint8_t qs[16];
};

SKV_HD static inline void skv_codes(const skv_block_mxfp4& block, uint8_t* __restrict codes) {
  skv_nibbles(block.qs, codes);
}

// 2^(e - 128) as bf16; the two smallest are subnormal.
SKV_HD static inline void skv_scales(const skv_block_mxfp4& block, uint16_t* coarse, uint8_t*) {
  coarse[0] = (uint16_t)(block.e < 2 ? 0x20 << block.e : (block.e - 1) << 7);
}

SKV_HD static inline void skv_decode_mxfp4(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_mxfp4>(row, out, n);
}
#endif
