// The arithmetic of the quantisers that the host and a CUDA device share: one value at a time.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/half.h"
#include "base/host_device.h"

namespace spectralkv {

// To f16 bits; beyond its range the largest finite value of that sign.
SKV_HD inline std::uint16_t saturating_f16(double value) {
  const double most = 65504.0;
  return skv_f32_to_f16(static_cast<float>(value < -most ? -most : most < value ? most : value));
}

// The code of a value: the number of boundaries below it. boundaries: [2^bits - 1] rising. A binary search of
// a fixed number of steps.
SKV_HD inline unsigned nearest_code(const float* boundaries, int bits, float value) {
  unsigned code = 0;
  for (unsigned step = 1u << (bits - 1); step > 0; step >>= 1)
    code += value > boundaries[code + step - 1] ? step : 0u;
  return code;
}

// e, so that rows of a block whose largest norm is `top` lie in [2^12, 2^13) once they are divided by 2^e:
// far from both ends of f16.
SKV_HD inline int block_exponent(double top) {
  constexpr int kNormExponent = 13;
  if (!(top > 0)) return 0;
  int exponent = 0;
  frexp(top, &exponent);  // top in [2^(exponent - 1), 2^exponent)
  exponent -= kNormExponent;
  return exponent < -100 ? -100 : exponent > 120 ? 120 : exponent;
}

}  // namespace spectralkv
