// Groups of q8_0 and q4_0 (block_quant.cc has the format), for the host and a CUDA device.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/host_device.h"
#include "quant/code_math.h"

namespace spectralkv {

namespace quant_groups {

SKV_HD inline float clamp_to(float value, float low, float high) {
  return value < low ? low : high < value ? high : value;
}
SKV_HD inline float scale_of(const std::uint8_t* in) {
  std::uint16_t half = 0;
  memcpy(&half, in, 2);
  return skv_f16_to_f32(half);
}

}  // namespace quant_groups

// Values one group holds: 32 where that divides the head dim.
SKV_HD inline int quant_group(int head_dim) {
  return head_dim % 32 == 0 ? 32 : 16;
}

struct Q8Group {
  static constexpr int kBits = 8;
  SKV_HD static int bytes(int g) { return 2 + g; }
  SKV_HD static void encode(const float* x, int g, std::uint8_t* out) {
    float top = 0;
    for (int i = 0; i < g; ++i) top = fabsf(x[i]) > top ? fabsf(x[i]) : top;
    const float d = top / 127.0f, inverse = d > 0 ? 1.0f / d : 0.0f;
    const std::uint16_t half = saturating_f16(static_cast<double>(d));
    memcpy(out, &half, 2);
    for (int i = 0; i < g; ++i) {
      // A subnormal d has an infinite inverse: the clamp keeps the code in range (0 * infinity is no number).
      const float code = x[i] == 0 ? 0.0f : quant_groups::clamp_to(x[i] * inverse, -127.0f, 127.0f);
      const int nearest = static_cast<int>(code + copysignf(0.5f, code));
      out[2 + i] = static_cast<std::uint8_t>(static_cast<std::int8_t>(nearest));
    }
  }
  // Value i of a group.
  SKV_HD static float value(const std::uint8_t* in, int, int i) {
    return quant_groups::scale_of(in) * static_cast<float>(static_cast<std::int8_t>(in[2 + i]));
  }
};

struct Q4Group {
  static constexpr int kBits = 4;
  SKV_HD static int bytes(int g) { return 2 + g / 2; }
  SKV_HD static int code(float value, float inverse) {
    return static_cast<int>(value == 0 ? 8.5f : quant_groups::clamp_to(value * inverse + 8.5f, 0.0f, 15.0f));
  }
  SKV_HD static void encode(const float* x, int g, std::uint8_t* out) {
    float top = 0;
    for (int i = 0; i < g; ++i)
      if (fabsf(x[i]) > fabsf(top)) top = x[i];
    const float d = top / -8.0f, inverse = d != 0 ? 1.0f / d : 0.0f;
    const std::uint16_t half = saturating_f16(static_cast<double>(d));
    memcpy(out, &half, 2);
    for (int i = 0; i < g / 2; ++i)
      out[2 + i] = static_cast<std::uint8_t>(code(x[i], inverse) | (code(x[i + g / 2], inverse) << 4));
  }
  SKV_HD static float value(const std::uint8_t* in, int g, int i) {
    const int byte = in[2 + i % (g / 2)];
    return quant_groups::scale_of(in) * static_cast<float>((i < g / 2 ? byte & 15 : byte >> 4) - 8);
  }
};

}  // namespace spectralkv
