// The table of encoders, and the three types that only round.
#include "formats/encode.h"

#include "base/half.h"
#include "formats/encode_search.h"

namespace spectralkv {

#define X(name, id, values, bytes) encode_##name,
const EncodeFn kEncode[] = {
#include "formats/list.def"
};
#undef X

void encode_f32(const float* in, void* row, int64_t n) {
  __builtin_memcpy(row, in, static_cast<uint64_t>(n) * sizeof(float));
}

// skv_f32_to_f16 without its branches, so that the loop vectorises: both cases are worked out and one is
// taken.
SKV_ENCODER void encode_f16(const float* in, void* row, int64_t n) {
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

SKV_ENCODER void encode_bf16(const float* in, void* row, int64_t n) {
  auto* out = static_cast<unsigned char*>(row);
  for (int64_t i = 0; i < n; ++i) {
    const uint16_t half = skv_f32_to_bf16(in[i]);
    __builtin_memcpy(out + 2 * i, &half, 2);
  }
}

}  // namespace spectralkv
