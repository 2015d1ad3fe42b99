// tq1_0: 256 values of -1, 0 or 1 under one f16 scale, five in a byte.
//
// Block of 54 bytes: 48 bytes, 4 bytes, d (f16). A byte holds the digits of a number below 1 to base 3 behind
// the point, as a fraction of 256 rounded up: digit j is the whole part of 3 times the rest that 3^j times
// the byte leaves. Byte l of the first 32 has the values l, 32 + l, ... 128 + l; byte l of the next 16 those
// from 160 in steps of 16; byte l of the last four 240 + l in steps of 4, four of them. A value is d * (digit
// - 1).
#ifdef X
X(tq1_0, 34, 256, 54, 36, q4_0)
#else

struct __attribute__((packed)) skv_block_tq1_0 {
  static constexpr skv_form kForm{.bits = 2, .group = 16, .offset = 1, .read_only = true};
  uint8_t qs[48];
  uint8_t qh[4];
  uint16_t d;  // f16 scale
};

SKV_HD static inline void skv_codes(const skv_block_tq1_0& block, uint8_t* __restrict codes) {
  // Digit j of `count` bytes, for all j.
  const auto digits = [&](const uint8_t* bytes, int count, int most) {
    unsigned power = 1;
    SKV_ROLLED
    for (int j = 0; j < most; ++j, power *= 3, codes += count)
      for (int l = 0; l < count; ++l) codes[l] = (uint8_t)((bytes[l] * power & 255u) * 3 >> 8);
  };
  digits(block.qs, 32, 5);
  digits(block.qs + 32, 16, 5);
  digits(block.qh, 4, 4);
}

SKV_HD static inline void skv_scales(const skv_block_tq1_0& block, uint16_t* coarse, uint8_t* fine) {
  coarse[0] = block.d;
  for (int g = 0; g < 16; ++g) fine[g] = 1;
}

SKV_HD static inline void skv_decode_tq1_0(const void* row, float* __restrict out, int64_t n) {
  skv_decode_codes<skv_block_tq1_0>(row, out, n);
}
#endif
