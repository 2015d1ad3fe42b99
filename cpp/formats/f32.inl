// f32: plain IEEE single precision values, little endian; a block is one value.
#ifdef X
X(f32, 0, 1, 4, 0, f32)
#else

// Packed: a row may start at any byte.
struct __attribute__((packed)) skv_block_f32 {
  static constexpr skv_form kForm{};
  float value;
};

SKV_HD static inline void skv_decode_f32(const void* row, float* __restrict out, int64_t n) {
  __builtin_memcpy(out, row, (uint64_t)n * sizeof(float));
}

#ifdef SKV_ENCODER
void spectralkv::encode_f32(const float* in, const float*, void* row, int64_t n) {
  __builtin_memcpy(row, in, static_cast<uint64_t>(n) * sizeof(float));
}
#endif
#endif
