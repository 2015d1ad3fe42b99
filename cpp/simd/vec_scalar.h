// Sixteen floats in plain code: the meaning of the other vec_*.h files, and the path of every other
// processor.
#pragma once

#include <math.h>
#include <stdint.h>

#include "base/half.h"
#include "formats/bitpack.h"

namespace {

struct Vec {
  float v[16];
};

constexpr int kTileTokens = 2;   // tokens that the matmul's inner loop keeps in registers, times four rows
constexpr int kFusedTokens = 1;  // up to this many tokens, weights are decoded in registers
constexpr int kMixTokens = 4;    // a mix of codes keeps so many tokens in registers,
constexpr int kMixColumns = 1;   // times so many vectors of 16 columns

template <class F>
inline Vec vec_make(F f) {
  Vec r;
  for (int i = 0; i < 16; ++i) r.v[i] = f(i);
  return r;
}

inline Vec vec_set1(float x) {
  return vec_make([=](int) { return x; });
}
inline Vec vec_load(const float* p) {
  return vec_make([=](int i) { return p[i]; });
}
inline Vec vec_load_n(const float* p, int n) {
  return vec_make([=](int i) { return i < n ? p[i] : 0.0f; });
}
inline void vec_store(float* p, Vec a) {
  for (int i = 0; i < 16; ++i) p[i] = a.v[i];
}
inline void vec_store_n(float* p, Vec a, int n) {
  for (int i = 0; i < n; ++i) p[i] = a.v[i];
}
inline Vec vec_load_f16(const uint16_t* p) {
  return vec_make([=](int i) { return skv_f16_to_f32(p[i]); });
}
inline Vec vec_load_bf16(const uint16_t* p) {
  return vec_make([=](int i) { return skv_bf16_to_f32(p[i]); });
}
inline void vec_store_f16(uint16_t* p, Vec a) {
  for (int i = 0; i < 16; ++i) p[i] = skv_f32_to_f16(a.v[i]);
}
inline Vec vec_load_i8(const int8_t* p) {
  return vec_make([=](int i) { return (float)p[i]; });
}
// Sixteen bytes as indices into a table: the low nibbles, and the high ones.
inline void vec_lookup_nibbles(const uint8_t* p, Vec table, Vec* low, Vec* high) {
  *low = vec_make([&](int i) { return table.v[p[i] & 15]; });
  *high = vec_make([&](int i) { return table.v[p[i] >> 4]; });
}
// f16 bits in memory, to all lanes.
inline Vec vec_set1_f16(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, 2);
  return vec_set1(skv_f16_to_f32(half));
}
// 0, 1, ..., 15.
inline Vec vec_iota() {
  return vec_make([](int i) { return (float)i; });
}
inline Vec vec_add(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec vec_sub(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec vec_mul(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec vec_div(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] / b.v[i]; });
}
inline Vec vec_max(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec vec_min(Vec a, Vec b) {
  return vec_make([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
// a * b + c; fused where the instruction set has it.
inline Vec vec_fma(Vec a, Vec b, Vec c) {
  return vec_make([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
}
inline Vec vec_round(Vec a) {
  return vec_make([&](int i) { return nearbyintf(a.v[i]); });
}
// a * 2^e for integral e in [-126, 127].
inline Vec vec_scale2(Vec a, Vec e) {
  return vec_make([&](int i) { return a.v[i] * skv_bits_to_f32((uint32_t)((int32_t)e.v[i] + 127) << 23); });
}
// Lanes of a where x >= limit, else 0.
inline Vec vec_keep_from(Vec a, Vec x, float limit) {
  return vec_make([&](int i) { return x.v[i] >= limit ? a.v[i] : 0.0f; });
}
// Swaps neighbours: 1 0 3 2 ...
// Value i becomes the sum of values i and i + half where bit half of i is 0, else their difference i - half
// less i.
template <int half>
inline Vec vec_butterfly(Vec a) {
  return vec_make([=](int i) { return (i & half) == 0 ? a.v[i] + a.v[i + half] : a.v[i - half] - a.v[i]; });
}
inline Vec vec_swap_pairs(Vec a) {
  return vec_make([&](int i) { return a.v[i ^ 1]; });
}
// a[i] - b[i] for even i, a[i] + b[i] for odd i.
inline Vec vec_addsub(Vec a, Vec b) {
  return vec_make([&](int i) { return i & 1 ? a.v[i] + b.v[i] : a.v[i] - b.v[i]; });
}
// Lane i of the result is lane i & ~1 (even) or i | 1 (odd) of a.
inline Vec vec_dup_even(Vec a) {
  return vec_make([&](int i) { return a.v[i & ~1]; });
}
inline Vec vec_dup_odd(Vec a) {
  return vec_make([&](int i) { return a.v[i | 1]; });
}
// The four sums, each in the same fixed order.
inline void vec_reduce4(Vec a, Vec b, Vec c, Vec d, float out[4]) {
  const Vec* in[4] = {&a, &b, &c, &d};
  for (int r = 0; r < 4; ++r) {
    float s[16];
    for (int i = 0; i < 16; ++i) s[i] = in[r]->v[i];
    for (int step = 8; step > 0; step /= 2)
      for (int i = 0; i < step; ++i) s[i] += s[i + step];
    out[r] = s[0];
  }
}
inline float vec_reduce_max(Vec a) {
  float m = a.v[0];
  for (int i = 1; i < 16; ++i) m = a.v[i] > m ? a.v[i] : m;
  return m;
}
// What the codes of a row stand for (formats/bitpack.h): levels [2^bits], kept in registers where they fit.
template <int bits>
struct CodeLevels {
  const float* levels;
  explicit CodeLevels(const float* all) : levels(all) {}
  // Of codes i to i + 15 of a row of d codes; i and d multiples of 16.
  Vec at(const uint8_t* row, int64_t d, int64_t i) const {
    return vec_make([&](int lane) { return levels[skv_packed_code(row, (int)d, bits, (int)i + lane)]; });
  }
};

// Codes i to i + 15 of such a row as numbers: 8, 10, 12 or 16 bits.
template <int bits>
inline Vec vec_code_numbers(const uint8_t* row, int64_t d, int64_t i) {
  return vec_make([&](int lane) { return (float)skv_packed_code(row, (int)d, bits, (int)i + lane); });
}

}  // namespace
