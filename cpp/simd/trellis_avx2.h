// Trellis codes by AVX2, for AVX-512 as well; trellis_scalar.h says what they mean.
#pragma once

#include <immintrin.h>

#include "simd/trellis_ring.h"

namespace {

// Tiles 2 i and 2 i + 1 in a register; `behind` is one tile later than `before` ends with.
inline __m256i tiles_between(__m256i before, __m256i behind) {
  return _mm256_permute2x128_si256(before, behind, 0x21);
}

struct TrellisPair {
  __m256i first, second;  // tiles of 32 bytes
};

// now: tiles g and g + 1; back[i]: those 2 i + 2 before; between[i]: those 2 i + 1 before.
inline TrellisPair trellis_pair(__m256i now, const __m256i back[3], const __m256i between[3]) {
  static_assert(kSkvTrellisMemory == 6);
  const auto sum = [&](unsigned mask) {
    __m256i all = _mm256_setzero_si256();
    if (mask & 1) all = now;
    for (int i = 0; i < 3; ++i) {
      if (mask >> (2 * i + 1) & 1) all = _mm256_xor_si256(all, between[i]);
      if (mask >> (2 * i + 2) & 1) all = _mm256_xor_si256(all, back[i]);
    }
    return _mm256_and_si256(all, _mm256_set1_epi8(0x55));
  };
  const __m256i pairs = _mm256_set1_epi8(0x33), others = _mm256_set1_epi8((char)0xcc);
  const __m256i low = _mm256_or_si256(sum(kSkvTrellisSum0), _mm256_slli_epi64(sum(kSkvTrellisSum1), 1));
  const __m256i high =
      _mm256_or_si256(sum(kSkvTrellisSum2), _mm256_and_si256(now, _mm256_set1_epi8((char)0xaa)));
  const __m256i first =
      _mm256_or_si256(_mm256_and_si256(low, pairs), _mm256_slli_epi64(_mm256_and_si256(high, pairs), 2));
  const __m256i second =
      _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi64(low, 2), pairs), _mm256_and_si256(high, others));
  return {_mm256_permute2x128_si256(first, second, 0x20), _mm256_permute2x128_si256(first, second, 0x31)};
}

void expand_trellis(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t* ahead,
                    uint8_t* out) {
  for (int64_t r = 0; r < sixteens; ++r, tiles += groups * 16) {
    uint64_t before[6][2];
    for (int i = 0; i < 6; ++i) ring_tile(tiles, groups, i - 6, before[i]);
    __m256i back[3], between[3];
    for (int i = 0; i < 3; ++i) back[i] = _mm256_loadu_si256((const __m256i*)before[4 - 2 * i]);
    for (int i = 1; i < 3; ++i) between[i] = tiles_between(back[i], back[i - 1]);
    for (int64_t g = 0; g < groups; g += 2, out += 64) {
      if (ahead != nullptr && g % 4 == 0) __builtin_prefetch(ahead + (r * groups + g) * 16, 0, 3);
      const bool two = g + 1 < groups;
      const __m256i now = two ? _mm256_loadu_si256((const __m256i*)(tiles + g * 16))
                              : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(tiles + g * 16)));
      between[0] = tiles_between(back[0], now);
      const TrellisPair pair = trellis_pair(now, back, between);
      _mm256_storeu_si256((__m256i*)out, pair.first);
      if (!two) {
        out += 32;
        break;
      }
      _mm256_storeu_si256((__m256i*)(out + 32), pair.second);
      for (int i = 2; i > 0; --i) back[i] = back[i - 1], between[i] = between[i - 1];
      back[0] = now;
    }
  }
}

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
