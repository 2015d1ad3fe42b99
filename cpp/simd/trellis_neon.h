// Trellis codes by NEON; trellis_scalar.h says what they mean.
#pragma once

#include <arm_neon.h>

#include "simd/trellis_ring.h"

namespace {

void expand_trellis(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t*, uint8_t* out) {
  static_assert(kSkvTrellisMemory == 6);
  const uint8x16_t path = vdupq_n_u8(0x55), pairs = vdupq_n_u8(0x33);
  for (int64_t r = 0; r < sixteens; ++r, tiles += groups * 16) {
    uint8x16_t back[7];  // back[i]: the tile i before
    for (int i = 1; i <= 6; ++i) {
      uint64_t tile[2];
      ring_tile(tiles, groups, -i, tile);
      back[i] = vreinterpretq_u8_u64(vld1q_u64(tile));
    }
    for (int64_t g = 0; g < groups; ++g, out += 32) {
      back[0] = vld1q_u8(tiles + 16 * g);
      // The sums of formats/trellis.h: all have the path bits one and three steps back.
      static_assert(kSkvTrellisSum0 == 0112 && kSkvTrellisSum1 == 072 && kSkvTrellisSum2 == 0133);
      const uint8x16_t both = veorq_u8(back[1], back[3]);
      const uint8x16_t sum0 = veorq_u8(both, back[6]);
      const uint8x16_t sum1 = veorq_u8(both, veorq_u8(back[4], back[5]));
      const uint8x16_t sum2 = veorq_u8(sum0, veorq_u8(back[4], back[0]));
      const uint8x16_t low = vbslq_u8(path, sum0, vshlq_n_u8(sum1, 1));
      const uint8x16_t high = vbslq_u8(path, sum2, back[0]);
      vst1q_u8(out, vbslq_u8(pairs, low, vshlq_n_u8(high, 2)));
      vst1q_u8(out + 16, vbslq_u8(pairs, vshrq_n_u8(low, 2), high));
#pragma GCC unroll 6
      for (int i = 6; i > 0; --i) back[i] = back[i - 1];
    }
  }
}

// Costs of eight rows in the 16-bit lanes of a register for each state; the two eights one after the other.
inline void search_trellis(const int8_t* x, int64_t steps, const uint8_t* start, TrellisStep* path,
                           uint8_t* best) {
  constexpr int kSteady = 4;  // steps between which no cost passes 32767
  static_assert(kTrellisWrongStart + kSteady * kTrellisCost <= 32767);
  for (int first = 0; first < 16; first += 8) {
    alignas(16) int16_t costs[2][kTrellisStates][8];
    for (int s = 0; s < kTrellisStates; ++s)
      for (int row = 0; row < 8; ++row)
        costs[0][s][row] = (int16_t)(start == nullptr || start[first + row] == s ? 0 : kTrellisWrongStart);
    for (int64_t t = 0; t < steps; ++t) {
      auto* const cost = costs[t % 2];
      auto* const next = costs[(t + 1) % 2];
      if (t % kSteady == 0) {
        int16x8_t least = vld1q_s16(cost[0]);
        for (int s = 1; s < kTrellisStates; ++s) least = vminq_s16(least, vld1q_s16(cost[s]));
        for (int s = 0; s < kTrellisStates; ++s) vst1q_s16(cost[s], vsubq_s16(vld1q_s16(cost[s]), least));
      }
      const int16x8_t value = vmovl_s8(vld1_s8(x + 16 * t + first));
      const uint16x8_t free = vceqq_s16(value, vdupq_n_s16(kTrellisFree));
      int16x8_t step[8];
      uint16x8_t own = vdupq_n_u16(0);
#pragma GCC unroll 8
      for (int z = 0; z < 8; ++z) {
        const int16x8_t a = vabdq_s16(value, vdupq_n_s16((int16_t)trellis_point((unsigned)z)));
        const int16x8_t b = vabdq_s16(value, vdupq_n_s16((int16_t)trellis_point((unsigned)z + 8)));
        own = vorrq_u16(own, vandq_u16(vcgtq_s16(a, b), vdupq_n_u16((uint16_t)(1 << z))));
        const int16x8_t far = vminq_s16(vminq_s16(a, b), vdupq_n_s16(kTrellisFar));
        step[z] = vbicq_s16(vshrq_n_s16(vmulq_s16(far, far), 2), vreinterpretq_s16_u16(free));
      }
      vst1q_u16(path[t].own + first, own);
#pragma GCC unroll 4
      for (int i = 0; i < kTrellisStates / 16; ++i) {
        uint16x8_t back = vdupq_n_u16(0);
#pragma GCC unroll 16
        for (int j = 0; j < 16; ++j) {
          const int s = 16 * i + j, other = s | kTrellisStates;
          const int16x8_t a = vaddq_s16(vld1q_s16(cost[s >> 1]), step[kTrellisSums.of[s]]);
          const int16x8_t b = vaddq_s16(vld1q_s16(cost[other >> 1]), step[kTrellisSums.of[other]]);
          back = vsubq_u16(vaddq_u16(back, back), vcgtq_s16(a, b));
          vst1q_s16(next[s], vminq_s16(a, b));
        }
        vst1q_u16(path[t].back[i] + first, back);
      }
    }
    if (best == nullptr) continue;
    const auto* const cost = costs[steps % 2];
    for (int row = 0; row < 8; ++row) {
      best[first + row] = 0;
      for (int s = 1; s < kTrellisStates; ++s)
        if (cost[s][row] < cost[best[first + row]][row]) best[first + row] = (uint8_t)s;
    }
  }
}

}  // namespace
