// What the scales of a residual's rows stand for (coded_block.h says how they lie). Host and device, no STL.
#pragma once

#include <cmath>

#include "base/half.h"
#include "formats/coded_block.h"

// The byte of a scale, none below 0 nor above `largest`. Squares of bytes are as precise where scales are
// small: one of a hundredth of the largest is off by 2 % at most.
SKV_HD static inline uint8_t skv_scale_byte(float scale, float largest) {
  if (!(largest > 0)) return 0;
  return (uint8_t)(int)((double)kSkvScaleSteps * sqrt((double)scale / (double)largest) + 0.5);
}
// A byte c stands for c^2 times this.
SKV_HD static inline float skv_byte_scale_unit(const uint8_t* residual) {
  const uint16_t largest = (uint16_t)((residual[0] | residual[1] << 8) & ~kSkvByteScales);
  return skv_f16_to_f32(largest) * (1.0f / (float)(kSkvScaleSteps * kSkvScaleSteps));
}
// Of row t.
SKV_HD static inline float skv_row_scale(const uint8_t* residual, size_t t) {
  if (!skv_has_byte_scales(residual))
    return skv_f16_to_f32((uint16_t)(residual[2 * t] | residual[2 * t + 1] << 8));
  const float c = residual[2 + t];
  return c * c * skv_byte_scale_unit(residual);
}
