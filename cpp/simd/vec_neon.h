// Sixteen floats as four NEON registers; vec_scalar.h says what each function means. Sums and products run as
// those of AVX2 do, and give its bits.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

namespace {

struct Vec {
  float32x4_t a, b, c, d;
};

constexpr int kTileTokens = 1;
constexpr int kFusedTokens = 1;
constexpr int kMixTokens = 4;
constexpr int kMixColumns = 1;

template <class F>
inline Vec vec_each(F f, Vec x) {
  return {f(x.a), f(x.b), f(x.c), f(x.d)};
}
template <class F>
inline Vec vec_each(F f, Vec x, Vec y) {
  return {f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)};
}

inline Vec vec_set1(float x) {
  const float32x4_t all = vdupq_n_f32(x);
  return {all, all, all, all};
}
inline Vec vec_load(const float* p) {
  return {vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)};
}
inline void vec_store(float* p, Vec x) {
  vst1q_f32(p, x.a);
  vst1q_f32(p + 4, x.b);
  vst1q_f32(p + 8, x.c);
  vst1q_f32(p + 12, x.d);
}
inline Vec vec_load_n(const float* p, int n) {
  if (n == 16) return vec_load(p);
  float all[16] = {};
  __builtin_memcpy(all, p, (uint64_t)n * 4);
  return vec_load(all);
}
inline void vec_store_n(float* p, Vec x, int n) {
  if (n == 16) return vec_store(p, x);
  float all[16];
  vec_store(all, x);
  __builtin_memcpy(p, all, (uint64_t)n * 4);
}
inline Vec vec_load_f16(const uint16_t* p) {
  const auto wide = [](uint16x8_t x) {
    const float16x8_t half = vreinterpretq_f16_u16(x);
    return float32x4x2_t{{vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half)}};
  };
  const float32x4x2_t low = wide(vld1q_u16(p)), high = wide(vld1q_u16(p + 8));
  return {low.val[0], low.val[1], high.val[0], high.val[1]};
}
inline Vec vec_load_bf16(const uint16_t* p) {
  const uint16x8_t low = vld1q_u16(p), high = vld1q_u16(p + 8);
  return {vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(low), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(low, 16)),
          vreinterpretq_f32_u32(vshll_n_u16(vget_low_u16(high), 16)),
          vreinterpretq_f32_u32(vshll_high_n_u16(high, 16))};
}
inline void vec_store_f16(uint16_t* p, Vec x) {
  vst1q_u16(p, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.a), x.b)));
  vst1q_u16(p + 8, vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(x.c), x.d)));
}
inline Vec vec_load_i8(const int8_t* p) {
  const int8x16_t bytes = vld1q_s8(p);
  const int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_high_s8(bytes);
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_high_s16(low)),
          vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_high_s16(high))};
}

// A table of floats in bytes: 4 in each register.
struct VecTable {
  uint8x16_t part[4];
};
inline VecTable vec_table(Vec x) {
  return {{vreinterpretq_u8_f32(x.a), vreinterpretq_u8_f32(x.b), vreinterpretq_u8_f32(x.c),
           vreinterpretq_u8_f32(x.d)}};
}
// Entries of the first `parts` registers of a table: four bytes of it for every index.
template <int parts>
inline Vec vec_lookup(uint8x16_t index, const VecTable& table) {
  const uint8x16_t first = vshlq_n_u8(index, 2);
  const auto four = [&](int from) {
    const uint8x16_t spread = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3},
                     byte = {0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3};
    const uint8x16_t from4 = vaddq_u8(spread, vdupq_n_u8((uint8_t)from));
    const uint8x16_t at = vorrq_u8(vqtbl1q_u8(first, from4), byte);
    if constexpr (parts == 1) return vreinterpretq_f32_u8(vqtbl1q_u8(table.part[0], at));
    if constexpr (parts == 2)
      return vreinterpretq_f32_u8(vqtbl2q_u8(uint8x16x2_t{{table.part[0], table.part[1]}}, at));
    return vreinterpretq_f32_u8(
        vqtbl4q_u8(uint8x16x4_t{{table.part[0], table.part[1], table.part[2], table.part[3]}}, at));
  };
  return {four(0), four(4), four(8), four(12)};
}
inline void vec_lookup_nibbles(const uint8_t* p, Vec table, Vec* low, Vec* high) {
  const uint8x16_t x = vld1q_u8(p);
  const VecTable entries = vec_table(table);
  *low = vec_lookup<4>(vandq_u8(x, vdupq_n_u8(15)), entries);
  *high = vec_lookup<4>(vshrq_n_u8(x, 4), entries);
}
inline Vec vec_set1_f16(const uint8_t* p) {
  uint16_t half;
  __builtin_memcpy(&half, p, 2);
  const float32x4_t all = vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half)));
  return {all, all, all, all};
}
inline Vec vec_iota() {
  return {float32x4_t{0, 1, 2, 3}, float32x4_t{4, 5, 6, 7}, float32x4_t{8, 9, 10, 11},
          float32x4_t{12, 13, 14, 15}};
}
inline Vec vec_add(Vec x, Vec y) {
  return vec_each([](float32x4_t p, float32x4_t q) { return vaddq_f32(p, q); }, x, y);
}
inline Vec vec_sub(Vec x, Vec y) {
  return vec_each([](float32x4_t p, float32x4_t q) { return vsubq_f32(p, q); }, x, y);
}
inline Vec vec_mul(Vec x, Vec y) {
  return vec_each([](float32x4_t p, float32x4_t q) { return vmulq_f32(p, q); }, x, y);
}
inline Vec vec_div(Vec x, Vec y) {
  return vec_each([](float32x4_t p, float32x4_t q) { return vdivq_f32(p, q); }, x, y);
}
// The second where one of them is no number, as the other instruction sets have it; fmax is not so.
inline float32x4_t vec_max4(float32x4_t x, float32x4_t y) {
  return vbslq_f32(vcgtq_f32(x, y), x, y);
}
inline Vec vec_max(Vec x, Vec y) {
  return vec_each(vec_max4, x, y);
}
inline Vec vec_min(Vec x, Vec y) {
  return vec_each([](float32x4_t p, float32x4_t q) { return vbslq_f32(vcltq_f32(p, q), p, q); }, x, y);
}
inline Vec vec_fma(Vec x, Vec y, Vec z) {
  return {vfmaq_f32(z.a, x.a, y.a), vfmaq_f32(z.b, x.b, y.b), vfmaq_f32(z.c, x.c, y.c),
          vfmaq_f32(z.d, x.d, y.d)};
}
inline Vec vec_round(Vec x) {
  return vec_each([](float32x4_t p) { return vrndnq_f32(p); }, x);
}
inline Vec vec_scale2(Vec x, Vec e) {
  const auto scaled = [](float32x4_t p, float32x4_t q) {
    const int32x4_t exponent = vaddq_s32(vcvtnq_s32_f32(q), vdupq_n_s32(127));
    return vmulq_f32(p, vreinterpretq_f32_s32(vshlq_n_s32(exponent, 23)));
  };
  return vec_each(scaled, x, e);
}
inline Vec vec_keep_from(Vec a, Vec x, float limit) {
  const auto kept = [limit](float32x4_t p, float32x4_t q) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(p), vcgeq_f32(q, vdupq_n_f32(limit))));
  };
  return vec_each(kept, a, x);
}
template <int half>
inline Vec vec_butterfly(Vec x) {
  if constexpr (half == 8)
    return {vaddq_f32(x.a, x.c), vaddq_f32(x.b, x.d), vsubq_f32(x.a, x.c), vsubq_f32(x.b, x.d)};
  if constexpr (half == 4)
    return {vaddq_f32(x.a, x.b), vsubq_f32(x.a, x.b), vaddq_f32(x.c, x.d), vsubq_f32(x.c, x.d)};
  const auto four = [](float32x4_t p) {
    const uint32x4_t upper = half == 1 ? uint32x4_t{0, ~0u, 0, ~0u} : uint32x4_t{0, 0, ~0u, ~0u};
    const float32x4_t other = half == 1 ? vrev64q_f32(p) : vextq_f32(p, p, 2);
    return vbslq_f32(upper, vsubq_f32(other, p), vaddq_f32(p, other));
  };
  return vec_each(four, x);
}
inline Vec vec_swap_pairs(Vec x) {
  return vec_each([](float32x4_t p) { return vrev64q_f32(p); }, x);
}
inline Vec vec_addsub(Vec x, Vec y) {
  const auto four = [](float32x4_t p, float32x4_t q) {
    const uint32x4_t even = {0x80000000u, 0, 0x80000000u, 0};
    return vaddq_f32(p, vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(q), even)));
  };
  return vec_each(four, x, y);
}
inline Vec vec_dup_even(Vec x) {
  return vec_each([](float32x4_t p) { return vtrn1q_f32(p, p); }, x);
}
inline Vec vec_dup_odd(Vec x) {
  return vec_each([](float32x4_t p) { return vtrn2q_f32(p, p); }, x);
}
inline void vec_reduce4(Vec p, Vec q, Vec r, Vec s, float out[4]) {
  const float32x4_t low = vpaddq_f32(vpaddq_f32(vaddq_f32(p.a, p.c), vaddq_f32(q.a, q.c)),
                                     vpaddq_f32(vaddq_f32(r.a, r.c), vaddq_f32(s.a, s.c)));
  const float32x4_t high = vpaddq_f32(vpaddq_f32(vaddq_f32(p.b, p.d), vaddq_f32(q.b, q.d)),
                                      vpaddq_f32(vaddq_f32(r.b, r.d), vaddq_f32(s.b, s.d)));
  vst1q_f32(out, vaddq_f32(low, high));
}
inline float vec_reduce_max(Vec x) {
  const float32x4_t m = vec_max4(vec_max4(x.a, x.c), vec_max4(x.b, x.d));
  const float32x4_t pair = vec_max4(m, vextq_f32(m, m, 2));
  return vgetq_lane_f32(vec_max4(pair, vrev64q_f32(pair)), 0);
}

// 0xff where bit i of the two bytes at p is set.
inline uint8x16_t vec_of_bits(const uint8_t* p) {
  uint16_t word;
  __builtin_memcpy(&word, p, 2);
  const uint8x16_t spread = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1},
                   bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  return vtstq_u8(vqtbl1q_u8(vreinterpretq_u8_u16(vdupq_n_u16(word)), spread), bit);
}
// Sixteen fields of a plane of 2 or 4 bits.
inline uint8x16_t vec_of_pairs(const uint8_t* p) {
  uint32_t word;
  __builtin_memcpy(&word, p, 4);
  const uint8x16_t spread = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  const int8x16_t right = {0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6, 0, -2, -4, -6};
  const uint8x16_t bytes = vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(word)), spread);
  return vandq_u8(vshlq_u8(bytes, right), vdupq_n_u8(3));
}
inline uint8x16_t vec_of_nibbles(const uint8_t* p) {
  const uint8x8_t bytes = vld1_u8(p), low = vand_u8(bytes, vdup_n_u8(15)), high = vshr_n_u8(bytes, 4);
  return vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));
}
// The codes i to i + 15.
template <int bits>
inline uint8x16_t vec_code_index(const uint8_t* row, int64_t d, int64_t i) {
  const auto ones = [&](const uint8_t* plane, uint8_t value) {
    return vandq_u8(vec_of_bits(plane + i / 8), vdupq_n_u8(value));
  };
  const auto pairs = [&](const uint8_t* plane) { return vec_of_pairs(plane + i / 4); };
  const auto nibbles = [&](const uint8_t* plane) { return vec_of_nibbles(plane + i / 2); };
  if constexpr (bits == 1) return ones(row, 1);
  if constexpr (bits == 2) return pairs(row);
  if constexpr (bits == 3) return vorrq_u8(pairs(row), ones(row + d / 4, 4));
  if constexpr (bits == 4) return nibbles(row);
  if constexpr (bits == 5) return vorrq_u8(nibbles(row), ones(row + d / 2, 16));
  if constexpr (bits == 6 || bits == 7) {
    const uint8x16_t six = vorrq_u8(nibbles(row), vshlq_n_u8(pairs(row + d / 2), 4));
    if constexpr (bits == 6) return six;
    return vorrq_u8(six, ones(row + d * 3 / 4, 64));
  }
  return vld1q_u8(row + i);
}
template <int bits>
struct CodeLevels {
  const float* levels;
  VecTable table;  // up to 4 bits
  explicit CodeLevels(const float* all) : levels(all), table(vec_table(vec_set1(0.0f))) {
    if constexpr (bits == 1)
      table.part[0] = vreinterpretq_u8_f32(vcombine_f32(vld1_f32(all), vdup_n_f32(0.0f)));
    if constexpr (bits == 2) table.part[0] = vreinterpretq_u8_f32(vld1q_f32(all));
    if constexpr (bits == 3)
      for (int i = 0; i < 2; ++i) table.part[i] = vreinterpretq_u8_f32(vld1q_f32(all + 4 * i));
    if constexpr (bits == 4) table = vec_table(vec_load(all));
  }
  Vec at(const uint8_t* row, int64_t d, int64_t i) const {
    const uint8x16_t index = vec_code_index<bits>(row, d, i);
    if constexpr (bits <= 4) return vec_lookup < bits <= 2 ? 1 : bits == 3 ? 2 : 4 > (index, table);
    uint8_t places[16];
    vst1q_u8(places, index);
    float found[16];
    for (int lane = 0; lane < 16; ++lane) found[lane] = levels[places[lane]];
    return vec_load(found);
  }
};

template <int bits>
inline Vec vec_code_numbers(const uint8_t* row, int64_t d, int64_t i) {
  const uint8x16_t low = vld1q_u8(row + i);
  uint8x16_t upper = vdupq_n_u8(0);
  if constexpr (bits == 10) upper = vec_of_pairs(row + d + i / 4);
  if constexpr (bits == 12) upper = vec_of_nibbles(row + d + i / 2);
  if constexpr (bits == 16) upper = vld1q_u8(row + d + i);
  const uint16x8_t first = vreinterpretq_u16_u8(vzip1q_u8(low, upper)),
                   second = vreinterpretq_u16_u8(vzip2q_u8(low, upper));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(first))), vcvtq_f32_u32(vmovl_high_u16(first)),
          vcvtq_f32_u32(vmovl_u16(vget_low_u16(second))), vcvtq_f32_u32(vmovl_high_u16(second))};
}

}  // namespace
