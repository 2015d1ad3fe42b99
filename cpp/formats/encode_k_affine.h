// The search of q2_k, q4_k and q5_k: groups with a small integer scale and minimum under two f16 factors.
#pragma once

#include <cmath>

#include "formats/encode_search.h"

namespace spectralkv::encode {

// A block under search: value = d * scale[g] * code - dmin * minimum[g]. N values a group, codes in [0,
// HIGH], scales and minimums in [0, STEPS].
template <int N, int HIGH, int STEPS>
struct AffineBlock {
  static constexpr int kGroups = 256 / N;

  const float *x, *w;  // values and their weights
  uint16_t d_bits = 0, dmin_bits = 0;
  float d = 0, dmin = 0;  // as rounded to f16
  int scale[kGroups] = {}, minimum[kGroups] = {};

  AffineBlock(const float* values, const float* weights) : x(values), w(weights) {
    Affine fits[kGroups];
    float top_scale = 0, top_minimum = 0;
    for (int g = 0; g < kGroups; ++g) {
      fits[g] = best_affine<N>(x + g * N, w + g * N, HIGH, 0);
      top_scale = std::fmax(top_scale, fits[g].scale);
      top_minimum = std::fmax(top_minimum, -fits[g].offset);
    }
    set_factors(top_scale / STEPS, top_minimum / STEPS);
    for (int g = 0; g < kGroups; ++g) {
      scale[g] = step_of(fits[g].scale, d);
      minimum[g] = step_of(-fits[g].offset, dmin);
    }
    float least = INFINITY;
    AffineBlock best = *this;
    for (int round = 0; round < kRounds; ++round) {
      const float error = settle_steps();
      if (!(error < least)) break;
      least = error;
      best = *this;
      fit_factors();
    }
    *this = best;
  }

  // Codes of group g, in [0, HIGH].
  void codes(int g, float* out) const {
    const float s = d * static_cast<float>(scale[g]), m = dmin * static_cast<float>(minimum[g]);
    codes_of<N>(x + g * N, inverse(s), -m, 0, HIGH, out);
  }

 private:
  static constexpr int kRounds = 4;

  static int step_of(float value, float factor) {
    return static_cast<int>(clamped(nearest(value * inverse(factor)), 0, STEPS));
  }

  void set_factors(float new_d, float new_dmin) {
    d_bits = factor_f16(new_d);
    dmin_bits = factor_f16(new_dmin);
    d = skv_f16_to_f32(d_bits);
    dmin = skv_f16_to_f32(dmin_bits);
  }

  float error_of(int g, int s, int m) const {
    const float value = d * static_cast<float>(s);
    return grid_error<N>(x + g * N, w + g * N, value, inverse(value), -dmin * static_cast<float>(m), 0, HIGH);
  }

  // Each group's scale and minimum walk to the neighbours that lose less, until none does. The block's
  // squared error.
  float settle_steps() {
    float sum = 0;
    for (int g = 0; g < kGroups; ++g) {
      float least = error_of(g, scale[g], minimum[g]);
      for (int walk = 0; walk < 8; ++walk) {
        const int s0 = scale[g], m0 = minimum[g];
        for (int s = s0 > 0 ? s0 - 1 : 0; s <= s0 + 1 && s <= STEPS; ++s)
          for (int m = m0 > 0 ? m0 - 1 : 0; m <= m0 + 1 && m <= STEPS; ++m) {
            if (s == s0 && m == m0) continue;
            const float error = error_of(g, s, m);
            if (error < least) least = error, scale[g] = s, minimum[g] = m;
          }
        if (scale[g] == s0 && minimum[g] == m0) break;
      }
      sum += least;
    }
    return sum;
  }

  // Least squares for d and dmin with codes, scales and minimums as they are.
  void fit_factors() {
    double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;  // a: scale * code, b: -minimum
    float code[N];
    for (int g = 0; g < kGroups; ++g) {
      codes(g, code);
      const double s = scale[g], m = -minimum[g];
      for (int i = 0; i < N; ++i) {
        const double a = s * static_cast<double>(code[i]), value = static_cast<double>(x[g * N + i]);
        const double weight = static_cast<double>(w[g * N + i]);
        aa += weight * (a * a), ab += weight * (a * m), bb += weight * (m * m);
        ax += weight * (a * value), bx += weight * (m * value);
      }
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb) {
      const double new_d = (ax * bb - bx * ab) / det, new_dmin = (bx * aa - ax * ab) / det;
      if (new_d > 0 && new_dmin > 0) set_factors(static_cast<float>(new_d), static_cast<float>(new_dmin));
    } else if (aa > 0 && bb == 0 && ax > 0) {
      set_factors(static_cast<float>(ax / aa), dmin);
    }
  }
};

// The reverse of skv_unpack_k_scales.
inline void pack_k_scales(const int* scale, const int* minimum, uint8_t* packed) {
  for (int i = 0; i < 4; ++i) {
    packed[i] = static_cast<uint8_t>(scale[i] | scale[i + 4] >> 4 << 6);
    packed[i + 4] = static_cast<uint8_t>(minimum[i] | minimum[i + 4] >> 4 << 6);
    packed[i + 8] = static_cast<uint8_t>((scale[i + 4] & 15) | (minimum[i + 4] & 15) << 4);
  }
}

}  // namespace spectralkv::encode
