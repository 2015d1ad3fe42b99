// The search of q3_k and q6_k: groups of 16 with a signed integer scale under one f16 factor, codes around
// zero.
#pragma once

#include <cmath>
#include <initializer_list>

#include "formats/encode_search.h"

namespace spectralkv::encode {

// A block under search: value = d * scale[g] * code. Codes in [-HIGH - 1, HIGH], scales in [-STEPS - 1,
// STEPS].
template <int HIGH, int STEPS>
struct SignedBlock {
  static constexpr int kGroup = 16, kGroups = 16;

  const float* x;
  uint16_t d_bits = 0;
  float d = 0;  // as rounded to f16
  int scale[kGroups] = {};

  explicit SignedBlock(const float* values) : x(values) {
    float fits[kGroups], extreme = 0;
    for (int g = 0; g < kGroups; ++g) {
      fits[g] = best_scale<kGroup>(x + g * kGroup, -HIGH - 1, HIGH);
      if (std::fabs(fits[g]) > std::fabs(extreme)) extreme = fits[g];
    }
    set_factor(extreme / -(STEPS + 1));  // the extreme scale takes the last step
    for (int g = 0; g < kGroups; ++g)
      scale[g] = static_cast<int>(clamped(nearest(fits[g] * inverse(d)), -STEPS - 1, STEPS));
    float least = INFINITY;
    SignedBlock best = *this;
    for (int round = 0; round < kRounds; ++round) {
      const float error = settle_steps();
      if (!(error < least)) break;
      least = error;
      best = *this;
      fit_factor();
    }
    *this = best;
  }

  // Codes of group g as unsigned numbers from 0.
  void codes(int g, int* out) const {
    float found[kGroup];
    codes_of<kGroup>(x + g * kGroup, inverse(d * static_cast<float>(scale[g])), 0, -HIGH - 1, HIGH, found);
    for (int i = 0; i < kGroup; ++i) out[i] = static_cast<int>(found[i]) + HIGH + 1;
  }

 private:
  static constexpr int kRounds = 3;

  void set_factor(float value) {
    d_bits = factor_f16(value);
    d = skv_f16_to_f32(d_bits);
  }

  float error_of(int g, int s) const {
    const float value = d * static_cast<float>(s);
    return grid_error<kGroup>(x + g * kGroup, value, inverse(value), 0, -HIGH - 1, HIGH);
  }

  // Each group's scale walks to the neighbour that loses less, until none does. The block's squared error.
  float settle_steps() {
    float sum = 0;
    for (int g = 0; g < kGroups; ++g) {
      float least = error_of(g, scale[g]);
      for (const int direction : {-1, 1})
        for (int s = scale[g] + direction; s >= -STEPS - 1 && s <= STEPS; s += direction) {
          const float error = error_of(g, s);
          if (!(error < least)) break;
          least = error;
          scale[g] = s;
        }
      sum += least;
    }
    return sum;
  }

  // Least squares for d with codes and scales as they are.
  void fit_factor() {
    double aa = 0, ax = 0;  // a: scale * code
    int code[kGroup];
    for (int g = 0; g < kGroups; ++g) {
      codes(g, code);
      for (int i = 0; i < kGroup; ++i) {
        const double a = static_cast<double>(scale[g]) * (code[i] - HIGH - 1);
        aa += a * a;
        ax += a * static_cast<double>(x[g * kGroup + i]);
      }
    }
    if (aa > 0) set_factor(static_cast<float>(ax / aa));
  }
};

}  // namespace spectralkv::encode
