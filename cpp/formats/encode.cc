// The table of encoders, and the three types that only round.
#include "formats/encode.h"

#include "base/half.h"

namespace spectralkv {

#define X(name, id, values, bytes) encode_##name,
const EncodeFn kEncode[] = {
#include "formats/list.def"
};
#undef X

void encode_f32(const float* in, void* row, int64_t n) {
  __builtin_memcpy(row, in, static_cast<uint64_t>(n) * sizeof(float));
}

void encode_f16(const float* in, void* row, int64_t n) {
  auto* out = static_cast<unsigned char*>(row);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = skv_f32_to_f16(in[i]);
    __builtin_memcpy(out + 2 * i, &half, 2);
  }
}

void encode_bf16(const float* in, void* row, int64_t n) {
  auto* out = static_cast<unsigned char*>(row);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = skv_f32_to_bf16(in[i]);
    __builtin_memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace spectralkv
