// tq2_0: 256 values as 2-bit codes around zero under one f16 scale.
//
// Block of 66 bytes: 64 bytes of codes that lie as in q2_k, d (f16): they come in two halves of 128 values
// and 32 bytes, and byte l of a half holds in its bit pair j (j = 0 lowest) the code of the half's value 32 j
// + l. A value is d * (code - 1).
#ifdef X
X(tq2_0, 35, 256, 66, 37, q4_0)
#else

struct __attribute__((packed)) skv_block_tq2_0 {
  static constexpr skv_form kForm = skv_block_tq1_0::kForm;
  uint8_t qs[64];
  uint16_t d;  // f16 scale
};

SKV_HD static inline void skv_codes(const skv_block_tq2_0& block, uint8_t* __restrict codes) {
  SKV_ROLLED
  for (int part = 0; part < 8; ++part, codes += 32)
    for (int l = 0; l < 32; ++l) codes[l] = (uint8_t)(block.qs[part / 4 * 32 + l] >> (part % 4 * 2) & 3);
}

SKV_HD static inline void skv_scales(const skv_block_tq2_0& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 16; ++g) fine[g] = 1;
}

SKV_HD static inline void skv_decode_tq2_0(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_tq2_0>(row, out, n);
}
#endif
