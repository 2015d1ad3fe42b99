// The search of q3_k, q6_k and iq4_xs: groups with a signed integer scale under one f16 factor, values around
// zero.
#pragma once

#include <cmath>
#include <initializer_list>

#include "formats/encode_search.h"

namespace spectralkv::encode {

// Groups of 16 whose values are scale * code, codes in [-HIGH - 1, HIGH].
template <int HIGH>
struct EvenSteps {
  static constexpr int kGroup = 16;
  static float best_scale(const float* x, const float* w) {
    return encode::best_scale<kGroup>(x, w, -HIGH - 1, HIGH);
  }
  static float error(const float* x, const float* w, float scale) {
    return grid_error<kGroup>(x, w, scale, inverse(scale), 0, -HIGH - 1, HIGH);
  }
  // What each value of x is in units of its scale.
  static void levels(const float* x, float scale, float* level) {
    codes_of<kGroup>(x, inverse(scale), 0, -HIGH - 1, HIGH, level);
  }
  // Codes as unsigned numbers from 0.
  static void codes(const float* x, float scale, int* code) {
    float level[kGroup];
    levels(x, scale, level);
    for (int i = 0; i < kGroup; ++i) code[i] = static_cast<int>(level[i]) + HIGH + 1;
  }
};

// A block under search: value = d * scale[g] * level. Grid: how a group's values are chosen; scales in
// [-STEPS - 1, STEPS].
template <class Grid, int STEPS>
struct SignedBlock {
  static constexpr int kGroup = Grid::kGroup, kGroups = 256 / kGroup;

  const float *x, *w;  // values and their weights
  uint16_t d_bits = 0;
  float d = 0;  // as rounded to f16
  int scale[kGroups] = {};

  SignedBlock(const float* values, const float* weights) : x(values), w(weights) {
    float fits[kGroups], extreme = 0;
    for (int g = 0; g < kGroups; ++g) {
      fits[g] = Grid::best_scale(x + g * kGroup, w + g * kGroup);
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

  void codes(int g, int* out) const { Grid::codes(x + g * kGroup, d * static_cast<float>(scale[g]), out); }

 private:
  static constexpr int kRounds = 3;

  void set_factor(float value) {
    d_bits = factor_f16(value);
    d = skv_f16_to_f32(d_bits);
  }

  float error_of(int g, int s) const {
    return Grid::error(x + g * kGroup, w + g * kGroup, d * static_cast<float>(s));
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

  // Least squares for d with levels and scales as they are.
  void fit_factor() {
    double aa = 0, ax = 0;  // a: scale * level
    float level[kGroup];
    for (int g = 0; g < kGroups; ++g) {
      Grid::levels(x + g * kGroup, d * static_cast<float>(scale[g]), level);
      for (int i = 0; i < kGroup; ++i) {
        const double a = static_cast<double>(scale[g]) * static_cast<double>(level[i]);
        const double weight = static_cast<double>(w[g * kGroup + i]);
        aa += weight * (a * a);
        ax += weight * (a * static_cast<double>(x[g * kGroup + i]));
      }
    }
    if (aa > 0) set_factor(static_cast<float>(ax / aa));
  }
};

}  // namespace spectralkv::encode
