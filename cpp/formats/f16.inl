// f16: IEEE half precision values, little endian; a block is one value.
#ifdef X
X(f16, 1, 1, 2, 1, f16)
#else

struct __attribute__((packed)) skv_block_f16 {
  static constexpr skv_form kForm{};
  uint16_t value;  // 1 sign, 5 exponent, 10 mantissa bits
};

SKV_HD static inline void skv_decode_f16(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_f16* block = (const struct skv_block_f16*)row;
  // skv_f16_to_f32 without its branch, so that the loop vectorises: scaling by 2^112 rebuilds every exponent
  // except the all-ones one, which a mask adds the missing 112 to.
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t half = block[i].value;
    const uint32_t magnitude = (half & 0x7fffu) << 13;
    const uint32_t scaled = skv_f32_to_bits(skv_bits_to_f32(magnitude) * 0x1p112f);
    const uint32_t special = (0u - (uint32_t)(magnitude >= 0x0f800000u)) & (112u << 23);
    out[i] = skv_bits_to_f32((scaled + special) | (half & 0x8000u) << 16);
  }
}

#ifdef SKV_ENCODER
// skv_f32_to_f16 without its branches, so that the loop vectorises: both cases are worked out and one is
// taken.
SKV_ENCODER void spectralkv::encode_f16(const float* in, const float*, void* row, int64_t n) {
  auto* out = static_cast<unsigned char*>(row);
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t bits = skv_f32_to_bits(in[i]), magnitude = bits & 0x7fffffffu;
    const uint32_t small = skv_f32_to_bits(skv_bits_to_f32(magnitude) + 0.5f) - 0x3f000000u;
    const uint32_t normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
    const uint32_t is_small = 0u - static_cast<uint32_t>(magnitude < 0x38800000u);
    const auto half =
        static_cast<uint16_t>((small & is_small) | (normal & ~is_small) | (bits >> 16 & 0x8000u));
    __builtin_memcpy(out + 2 * i, &half, 2);
  }
}
#endif
#endif
