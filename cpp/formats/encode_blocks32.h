// What the encoders of types share whose block is 32 values under one scale.
#pragma once

#include <cmath>

#include "formats/encode.h"
#include "formats/encode_search.h"

namespace spectralkv::encode {

// Of a scale as rounded to f16 and its neighbours, the one that loses least with its own codes in [low,
// high].
inline uint16_t best_f16_scale(const float* x, const float* w, float scale, float low, float high) {
  const uint16_t start = skv_f32_to_f16(scale);
  uint16_t best = start;
  float least = INFINITY;
  for (int step = -1; step <= 1; ++step) {
    const auto bits = static_cast<uint16_t>(start + step);
    const float value = skv_f16_to_f32(bits);
    if (!std::isfinite(value)) continue;
    const float error = grid_error<32>(x, w, value, inverse(value), 0, low, high);
    if (error < least) least = error, best = bits;
  }
  return best;
}

struct AffineF16 {
  uint16_t scale, offset;
};

inline AffineF16 affine_f16(const float* x, const float* w, float high) {
  const Affine fit = best_affine<32>(x, w, high, kLargestEncoded);
  const float offset = clamped(fit.offset, -kLargestEncoded, kLargestEncoded);
  return {skv_f32_to_f16(fit.scale), skv_f32_to_f16(offset)};
}

// Codes as unsigned numbers from 0.
inline void write_codes(const float* x, float scale, float offset, float low, float high, int* codes) {
  float found[32];
  codes_of<32>(x, inverse(scale), offset, low, high, found);
  for (int i = 0; i < 32; ++i) codes[i] = static_cast<int>(found[i] - low);
}

inline void pack_nibbles(const int* codes, uint8_t* qs) {
  for (int i = 0; i < 16; ++i) qs[i] = static_cast<uint8_t>((codes[i] & 15) | (codes[i + 16] & 15) << 4);
}

inline uint32_t fifth_bits(const int* codes) {
  uint32_t bits = 0;
  for (int i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(codes[i] >> 4 & 1) << i;
  return bits;
}

}  // namespace spectralkv::encode
