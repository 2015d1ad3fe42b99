// Trellis codes in plain code: the meaning of trellis_avx2.h.
#pragma once

#include "simd/trellis_ring.h"

namespace {

// Bits of masks & (1 << i): the path bits of tile g - i.
template <unsigned mask>
inline uint64_t trellis_sum(const uint64_t (*history)[2], int half) {
  uint64_t sum = 0;
  for (int i = 0; i <= kSkvTrellisMemory; ++i)
    if (mask >> i & 1) sum ^= history[kSkvTrellisMemory - i][half];
  return sum & 0x5555555555555555ull;
}

void expand_trellis(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t*, uint8_t* out) {
  constexpr uint64_t kOwn = 0xaaaaaaaaaaaaaaaaull, kPairs = 0x3333333333333333ull;
  for (int64_t r = 0; r < sixteens; ++r, tiles += groups * 16) {
    uint64_t history[kSkvTrellisMemory + 1][2];
    for (int i = 0; i < kSkvTrellisMemory; ++i) ring_tile(tiles, groups, i - kSkvTrellisMemory, history[i]);
    for (int64_t g = 0; g < groups; ++g, out += 32) {
      memcpy(history[kSkvTrellisMemory], tiles + g * 16, 16);
      for (int half = 0; half < 2; ++half) {
        const uint64_t low =
            trellis_sum<kSkvTrellisSum0>(history, half) | trellis_sum<kSkvTrellisSum1>(history, half) << 1;
        const uint64_t high =
            trellis_sum<kSkvTrellisSum2>(history, half) | (history[kSkvTrellisMemory][half] & kOwn);
        const uint64_t first = (low & kPairs) | (high & kPairs) << 2;
        const uint64_t second = (low >> 2 & kPairs) | (high & kPairs << 2);
        memcpy(out + 8 * half, &first, 8);
        memcpy(out + 16 + 8 * half, &second, 8);
      }
      memmove(history[0], history[1], sizeof history - sizeof history[0]);
    }
  }
}

// The search over x [steps][16], from the state start[row], or from any where start is null. path: [steps]
// out; best, unless it is null: [16] the cheapest state at the end, of several the first.
inline void search_trellis(const int8_t* x, int64_t steps, const uint8_t* start, TrellisStep* path,
                           uint8_t* best) {
  for (int row = 0; row < 16; ++row) {
    int cost[kTrellisStates], next[kTrellisStates];
    for (int s = 0; s < kTrellisStates; ++s)
      cost[s] = start == nullptr || start[row] == s ? 0 : kTrellisWrongStart;
    for (int64_t t = 0; t < steps; ++t) {
      const int value = x[16 * t + row];
      int step[8];
      path[t].own[row] = 0;
      for (int z = 0; z < 8; ++z) {
        const int first = value - trellis_point((unsigned)z), second = value - trellis_point((unsigned)z + 8);
        const int a = first < 0 ? -first : first, b = second < 0 ? -second : second;
        if (b < a) path[t].own[row] |= (uint16_t)(1 << z);
        const int distance = a < b ? a : b, far = distance < kTrellisFar ? distance : kTrellisFar;
        step[z] = value == kTrellisFree ? 0 : far * far / 4;
      }
      for (int i = 0; i < kTrellisStates / 16; ++i) path[t].back[i][row] = 0;
      for (int s = 0; s < kTrellisStates; ++s) {
        const int other = s | kTrellisStates;
        const int a = cost[s >> 1] + step[kTrellisSums.of[s]];
        const int b = cost[other >> 1] + step[kTrellisSums.of[other]];
        if (b < a) path[t].back[s / 16][row] |= (uint16_t)(0x8000 >> s % 16);
        next[s] = a < b ? a : b;
      }
      memcpy(cost, next, sizeof cost);
    }
    if (best == nullptr) continue;
    best[row] = 0;
    for (int s = 1; s < kTrellisStates; ++s)
      if (cost[s] < cost[best[row]]) best[row] = (uint8_t)s;
  }
}

}  // namespace
