// bf16: the upper half of IEEE single precision values, little endian; a block is one value.
#ifdef X
X(bf16, 30, 1, 2, 32, bf16)
#else

struct __attribute__((packed)) skv_block_bf16 {
  static constexpr skv_form kForm{};
  uint16_t value;  // 1 sign, 8 exponent, 7 mantissa bits
};

SKV_HD static inline void skv_decode_bf16(const void* row, float* __restrict out, int64_t n) {
  const struct skv_block_bf16* block = (const struct skv_block_bf16*)row;
  for (int64_t i = 0; i < n; ++i) out[i] = skv_bf16_to_f32(block[i].value);
}

#ifdef SKV_ENCODER
SKV_ENCODER void spectralkv::encode_bf16(const float* in, const float*, void* row, int64_t n) {
  auto* out = static_cast<unsigned char*>(row);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = skv_f32_to_bf16(in[i]);
    __builtin_memcpy(out + 2 * i, &half, 2);
  }
}
#endif
#endif
