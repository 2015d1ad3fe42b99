// Products with codes in tiles in plain code: the meaning of the other tiles_*.h files.
#pragma once

#include "formats/codetiles.h"
#include "simd/kernels.h"
#include "simd/vec_scalar.h"

namespace {

using spectralkv::simd::ByteRows;
using spectralkv::simd::CodeTiles;
using spectralkv::simd::ProbabilityRows;

// Sixteen rows of codes times up to kTileRowsAtOnce rows of numbers share each lookup.
constexpr int64_t kTileRowsAtOnce = 8;

template <int bits, class Rows>
void add_tiles(const CodeTiles& a, const Rows& x, const float* scale, float* y, int64_t ldy) {
  for (int64_t r0 = 0; r0 < a.rows; r0 += 16)
    for (int64_t t0 = 0; t0 < x.count; t0 += kTileRowsAtOnce) {
      const int64_t count = x.count - t0 < kTileRowsAtOnce ? x.count - t0 : kTileRowsAtOnce;
      int32_t sum[kTileRowsAtOnce][16] = {};
      const uint8_t* tile = a.data + r0 / 16 * a.stride;
      for (int64_t g = 0; g < a.groups; ++g, tile += skv_tile_bytes(bits)) {
        int32_t level[kSkvTileCodes];
        for (int p = 0; p < kSkvTileCodes; ++p) level[p] = a.levels[skv_tile_code(tile, bits, p)];
        for (int64_t t = 0; t < count; ++t)
          for (int j = 0; j < 4; ++j) {
            const int32_t number = x.values[(t0 + t) * x.ld + 4 * g + j];
            for (int i = 0; i < 16; ++i) sum[t][i] += number * level[4 * i + j];
          }
      }
      for (int64_t t = 0; t < count; ++t)
        for (int64_t i = 0; i < 16 && r0 + i < a.rows; ++i) {
          const float step = a.unit * x.steps[t0 + t];
          y[(t0 + t) * ldy + r0 + i] += (float)sum[t][i] * (scale == nullptr ? step : step * scale[r0 + i]);
        }
    }
}

// Whole numbers, -127 to 127, as 64 bytes. What is NaN becomes anything.
inline void store_bytes(int8_t* to, const Vec v[4]) {
  for (int i = 0; i < 64; ++i) {
    const float x = v[i / 16].v[i % 16];
    to[i] = x == x ? (int8_t)x : (int8_t)0;
  }
}
// Whole numbers, 0 to 255; what is negative or NaN becomes 0, what is larger 255.
inline void store_unsigned_bytes(uint8_t* to, const Vec v[4]) {
  for (int i = 0; i < 64; ++i) {
    const float x = v[i / 16].v[i % 16];
    to[i] = x >= 255 ? (uint8_t)255 : x > 0 ? (uint8_t)x : (uint8_t)0;
  }
}

}  // namespace
