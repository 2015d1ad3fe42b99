// Trellis codes by AVX2; trellis_scalar.h says what they mean.
#pragma once

#include <immintrin.h>

#include "simd/trellis_ring.h"
#include "simd/trellis_search.h"

namespace {

// The last tile of a pair and the first of the next one.
inline __m256i tiles_between(__m256i before, __m256i behind) {
  return _mm256_permute2x128_si256(before, behind, 0x21);
}
// Columns as those one further to the right see them.
inline __m256i ring_turned(__m256i tiles) {
  return _mm256_or_si256(_mm256_slli_epi32(tiles, 8), _mm256_srli_epi32(tiles, 24));
}
// a where the mask is set, else b.
inline __m256i chosen_bits(__m256i mask, __m256i a, __m256i b) {
  return _mm256_or_si256(_mm256_and_si256(mask, a), _mm256_andnot_si256(mask, b));
}

void expand_trellis(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t* ahead,
                    uint8_t* out) {
  static_assert(kSkvTrellisMemory == 6);
  const __m256i path = _mm256_set1_epi8(0x55), pairs = _mm256_set1_epi8(0x33);
  for (int64_t r = 0; r < sixteens; ++r, tiles += groups * 16) {
    // Tiles in pairs: back[i] those 2 i + 2 before, between[i] those 2 i + 1 before.
    __m256i back[3], between[3];
    for (int i = 0; i < 3; ++i) {
      uint64_t pair[2][2];
      if (groups >= 6) {
        back[i] = ring_turned(_mm256_loadu_si256((const __m256i*)(tiles + (groups - 2 * i - 2) * 16)));
        continue;
      }
      ring_tile(tiles, groups, -2 * i - 2, pair[0]);
      ring_tile(tiles, groups, -2 * i - 1, pair[1]);
      back[i] = _mm256_loadu_si256((const __m256i*)pair);
    }
    for (int i = 1; i < 3; ++i) between[i] = tiles_between(back[i], back[i - 1]);
    for (int64_t g = 0; g < groups; g += 2) {
      if (ahead != nullptr && g % 4 == 0) __builtin_prefetch(ahead + (r * groups + g) * 16, 0, 3);
      const bool two = g + 1 < groups;
      const __m256i now = two ? _mm256_loadu_si256((const __m256i*)(tiles + g * 16))
                              : _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(tiles + g * 16)));
      between[0] = tiles_between(back[0], now);
      // The sums of formats/trellis.h: all have the path bits one and three steps back.
      static_assert(kSkvTrellisSum0 == 0112 && kSkvTrellisSum1 == 072 && kSkvTrellisSum2 == 0133);
      const __m256i both = _mm256_xor_si256(between[0], between[1]);
      const __m256i sum0 = _mm256_xor_si256(both, back[2]);
      const __m256i sum1 = _mm256_xor_si256(_mm256_xor_si256(both, back[1]), between[2]);
      const __m256i sum2 = _mm256_xor_si256(_mm256_xor_si256(sum0, back[1]), now);
      const __m256i low = chosen_bits(path, sum0, _mm256_add_epi8(sum1, sum1));
      const __m256i high = chosen_bits(path, sum2, now);
      const __m256i first = chosen_bits(pairs, low, _mm256_slli_epi32(high, 2));
      const __m256i second = chosen_bits(pairs, _mm256_srli_epi32(low, 2), high);
      _mm256_storeu_si256((__m256i*)out, _mm256_permute2x128_si256(first, second, 0x20));
      if (two) _mm256_storeu_si256((__m256i*)(out + 32), _mm256_permute2x128_si256(first, second, 0x31));
      out += two ? 64 : 32;
      for (int i = 2; i > 0; --i) back[i] = back[i - 1], between[i] = between[i - 1];
      back[0] = now;
    }
  }
}

}  // namespace
