// What the encoders share: sums over a group for given scales, and the searches for a group's scale and
// minimum.
#pragma once

#include <cmath>
#include <cstdint>

#include "base/half.h"

// An encoder is compiled twice, for any x86-64 and for AVX2, with everything that it calls inside; the loader
// picks. Both do the same operations in the same order. (Sanitizers do not work in what runs before main.)
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SKV_ENCODER __attribute__((target_clones("avx2", "default"), flatten))
#else
#define SKV_ENCODER
#endif

namespace spectralkv::encode {

// The nearest integer, ties to even, of |x| < 2^22. (Adding and taking away 1.5 * 2^23 leaves no fraction.)
inline float nearest(float x) {
  return (x + 12582912.0f) - 12582912.0f;
}

inline float clamped(float x, float low, float high) {
  const float raised = x < low ? low : x;
  return raised > high ? high : raised;
}

// A factor as f16 bits: finite, and not lost as 0 where it is small (its integer scales make up for the
// rest).
inline uint16_t factor_f16(float factor) {
  const uint16_t bits = skv_f32_to_f16(clamped(factor, -65504.0f, 65504.0f));
  return (bits & 0x7fffu) == 0 && factor != 0 ? static_cast<uint16_t>(bits | 1u) : bits;
}

// 1 / scale, 0 for 0; scales so small that the inverse is infinite count as 0.
inline float inverse(float scale) {
  const float result = 1.0f / scale;
  return std::isfinite(result) ? result : 0.0f;
}

// Eight values at once: AVX2's registers, two of SSE2's. By reference only, as registers of one size are no
// arguments of code for the other.
constexpr int kLanes = 8;  // group sizes are multiples
typedef float Lanes __attribute__((vector_size(4 * kLanes)));

inline void load(const float* x, Lanes& out) {
  __builtin_memcpy(&out, x, sizeof(out));
}

inline float total(const Lanes& v) {
  return ((v[0] + v[4]) + (v[1] + v[5])) + ((v[2] + v[6]) + (v[3] + v[7]));
}

// Codes of x under a grid: code = clamp(round((x - offset) * inv), low, high).
inline void codes_of(const Lanes& x, float inv, float offset, float low, float high, Lanes& code) {
  const Lanes rounded = ((x - offset) * inv + 12582912.0f) - 12582912.0f;
  const Lanes lows = Lanes{} + low, highs = Lanes{} + high;
  const Lanes raised = rounded < lows ? lows : rounded;
  code = raised > highs ? highs : raised;
}

template <int N>
inline void codes_of(const float* x, float inv, float offset, float low, float high, float* codes) {
  for (int i = 0; i < N; i += kLanes) {
    Lanes values, code;
    load(x + i, values);
    codes_of(values, inv, offset, low, high, code);
    __builtin_memcpy(codes + i, &code, sizeof(code));
  }
}

// Squared error of x, weighted by w, against scale * code + offset, with the codes that these give.
template <int N>
inline float grid_error(const float* x, const float* w, float scale, float inv, float offset, float low,
                        float high) {
  Lanes sum{};
  for (int i = 0; i < N; i += kLanes) {
    Lanes values, weights, code;
    load(x + i, values);
    load(w + i, weights);
    codes_of(values, inv, offset, low, high, code);
    const Lanes miss = values - (scale * code + offset);
    sum += weights * (miss * miss);
  }
  return total(sum);
}

// The sums, weighted by w, that a least-squares fit of x by the codes needs.
struct FitSums {
  float c = 0, cc = 0, xc = 0;
};

template <int N>
inline FitSums fit_sums(const float* x, const float* w, float inv, float offset, float low, float high) {
  Lanes c{}, cc{}, xc{};
  for (int i = 0; i < N; i += kLanes) {
    Lanes values, weights, code;
    load(x + i, values);
    load(w + i, weights);
    codes_of(values, inv, offset, low, high, code);
    c += weights * code;
    cc += weights * (code * code);
    xc += weights * (values * code);
  }
  return {total(c), total(cc), total(xc)};
}

// The scale, of either sign, that loses least with codes in [low, high], low = -high - 1 or -high: the
// extreme value is laid on a row of places around the last code, and the best of these is fitted again until
// its codes stay.
template <int N>
float best_scale(const float* x, const float* w, float low, float high) {
  float extreme = 0;
  for (int i = 0; i < N; ++i) extreme = std::fabs(x[i]) > extreme ? std::fabs(x[i]) : extreme;
  if (inverse(extreme) == 0) return 0;
  const float last = -low;
  constexpr int kSteps = 9;
  float best_gain = -1, best = 0;  // gain: how much the squared error falls below that of all zeros
  const auto consider = [&](float inv) {
    const FitSums sums = fit_sums<N>(x, w, inv, 0, low, high);
    if (sums.cc <= 0) return;
    const float gain = sums.xc * (sums.xc / sums.cc);
    if (gain > best_gain) best_gain = gain, best = sums.xc / sums.cc;
  };
  // From a third below the last code (all codes used sparingly) to an eighth above it (the extreme is cut), a
  // step or two at the least.
  const float from = -std::fmax(0.16f * last, 0.7f), to = std::fmax(0.20f * last, 0.9f);
  for (int s = 0; s < kSteps; ++s) {
    const float place = last + from + (to - from) * static_cast<float>(s) / (kSteps - 1);
    consider(place / extreme);
    consider(-place / extreme);
  }
  for (int again = 0; again < 2; ++again) {
    const float before = best;
    consider(inverse(best));
    if (best == before) break;
  }
  return best;
}

struct Affine {
  float scale = 0, offset = 0, error = 0;
};

// Scale >= 0 and offset that lose least with codes in [0, high]; the offset is at most `top_offset` (0 where
// a format has only minimums that are taken away, infinity where it is free).
template <int N>
Affine best_affine(const float* x, const float* w, float high, float top_offset) {
  float low_x = x[0], high_x = x[0], n = 0, sum_x = 0;  // n: the sum of the weights
  for (int i = 0; i < N; ++i) {
    low_x = x[i] < low_x ? x[i] : low_x;
    high_x = x[i] > high_x ? x[i] : high_x;
    n += w[i];
    sum_x += w[i] * x[i];
  }
  low_x = std::fmin(low_x, top_offset);
  high_x = std::fmax(high_x, low_x);
  const float range = high_x - low_x;
  Affine best{0, std::fmin(sum_x / n, top_offset), 0};
  best.error = grid_error<N>(x, w, 0, 0, best.offset, 0, high);
  if (inverse(range) == 0) return best;
  const auto consider = [&](float scale, float offset) {
    const FitSums s = fit_sums<N>(x, w, inverse(scale), offset, 0, high);
    const float det = n * s.cc - s.c * s.c;
    if (s.cc <= 0) return;
    Affine fit;
    fit.scale = (n * s.xc - s.c * sum_x) / det;
    fit.offset = (sum_x - fit.scale * s.c) / n;
    if (!(det > 0) ||
        fit.offset > top_offset) {  // one code only, or a bounded offset: the scale alone is fitted
      fit.offset = det > 0 ? top_offset : offset;
      fit.scale = (s.xc - fit.offset * s.c) / s.cc;
    }
    if (!(fit.scale > 0)) return;
    fit.error = grid_error<N>(x, w, fit.scale, inverse(fit.scale), fit.offset, 0, high);
    if (fit.error < best.error) best = fit;
  };
  // Ranges cut at one end or at both, by parts of a step.
  constexpr float kCuts[] = {-0.3f, 0.1f, 0.5f, 0.9f};
  const float step = range / high;
  for (const float below : kCuts)
    for (const float above : kCuts) {
      const float from = std::fmin(low_x + below * step, top_offset), to = high_x - above * step;
      if (to > from) consider((to - from) / high, from);
    }
  // Values that had half as many codes before, as of a type a bit smaller, have every second one exactly.
  consider(range / (high - 1), low_x);
  for (int again = 0; again < 3; ++again) {
    const float before = best.error;
    consider(best.scale, best.offset);
    if (best.error == before) break;
  }
  return best;
}

}  // namespace spectralkv::encode
