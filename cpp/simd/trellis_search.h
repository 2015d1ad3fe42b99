// The search for trellis codes by AVX2, for AVX-512 as well; trellis_scalar.h says what it means.
#pragma once

#include <immintrin.h>

#include "simd/trellis_ring.h"

namespace {

// Costs of sixteen rows in the 16-bit lanes of a register for each state.
inline void search_trellis(const int8_t* x, int64_t steps, const uint8_t* start, TrellisStep* path,
                           uint8_t* best) {
  constexpr int kSteady = 4;  // steps between which no cost passes 32767
  static_assert(kTrellisWrongStart + kSteady * kTrellisCost <= 32767);
  alignas(32) int16_t costs[2][kTrellisStates][16];
  for (int s = 0; s < kTrellisStates; ++s)
    for (int row = 0; row < 16; ++row)
      costs[0][s][row] = (int16_t)(start == nullptr || start[row] == s ? 0 : kTrellisWrongStart);
  for (int64_t t = 0; t < steps; ++t) {
    auto* const cost = (__m256i*)costs[t % 2];
    auto* const next = (__m256i*)costs[(t + 1) % 2];
    if (t % kSteady == 0) {
      __m256i least = cost[0];
      for (int s = 1; s < kTrellisStates; ++s) least = _mm256_min_epi16(least, cost[s]);
      for (int s = 0; s < kTrellisStates; ++s) cost[s] = _mm256_sub_epi16(cost[s], least);
    }
    const __m256i value = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i*)(x + 16 * t)));
    const __m256i free = _mm256_cmpeq_epi16(value, _mm256_set1_epi16(kTrellisFree));
    __m256i step[8], own = _mm256_setzero_si256();
#pragma GCC unroll 8
    for (int z = 0; z < 8; ++z) {
      const __m256i a =
          _mm256_abs_epi16(_mm256_sub_epi16(value, _mm256_set1_epi16((int16_t)trellis_point((unsigned)z))));
      const __m256i b = _mm256_abs_epi16(
          _mm256_sub_epi16(value, _mm256_set1_epi16((int16_t)trellis_point((unsigned)z + 8))));
      own = _mm256_or_si256(own,
                            _mm256_and_si256(_mm256_cmpgt_epi16(a, b), _mm256_set1_epi16((int16_t)(1 << z))));
      const __m256i far = _mm256_min_epi16(_mm256_min_epi16(a, b), _mm256_set1_epi16(kTrellisFar));
      step[z] = _mm256_andnot_si256(free, _mm256_srli_epi16(_mm256_mullo_epi16(far, far), 2));
    }
    _mm256_storeu_si256((__m256i*)path[t].own, own);
#pragma GCC unroll 4
    for (int i = 0; i < kTrellisStates / 16; ++i) {
      __m256i back = _mm256_setzero_si256();
#pragma GCC unroll 16
      for (int j = 0; j < 16; ++j) {
        const int s = 16 * i + j, other = s | kTrellisStates;
        const __m256i a = _mm256_add_epi16(cost[s >> 1], step[kTrellisSums.of[s]]);
        const __m256i b = _mm256_add_epi16(cost[other >> 1], step[kTrellisSums.of[other]]);
        back = _mm256_sub_epi16(_mm256_add_epi16(back, back), _mm256_cmpgt_epi16(a, b));
        next[s] = _mm256_min_epi16(a, b);
      }
      _mm256_storeu_si256((__m256i*)path[t].back[i], back);
    }
  }
  if (best == nullptr) return;
  const auto* const cost = costs[steps % 2];
  int16_t least[16];
  memcpy(least, cost[0], sizeof least);
  memset(best, 0, 16);
  for (int s = 1; s < kTrellisStates; ++s)
    for (int row = 0; row < 16; ++row)
      if (cost[s][row] < least[row]) least[row] = cost[s][row], best[row] = (uint8_t)s;
}

}  // namespace
