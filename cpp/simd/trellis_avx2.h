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
  const uint8_t* const first_tile = tiles;
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
    const auto next = [&](__m256i now, __m256i* first_out, __m256i* second_out) {
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
      *first_out = _mm256_permute2x128_si256(first, second, 0x20);
      *second_out = _mm256_permute2x128_si256(first, second, 0x31);
      for (int i = 2; i > 0; --i) back[i] = back[i - 1], between[i] = between[i - 1];
      back[0] = now;
    };
    __m256i first_out, second_out;
    const uint8_t* const end = tiles + groups / 2 * 32;
    for (const uint8_t* two = tiles; two < end; two += 32, out += 64) {
      if (ahead != nullptr) __builtin_prefetch(ahead + (two - first_tile), 0, 3);
      next(_mm256_loadu_si256((const __m256i*)two), &first_out, &second_out);
      _mm256_storeu_si256((__m256i*)out, first_out);
      _mm256_storeu_si256((__m256i*)(out + 32), second_out);
    }
    if (groups % 2 == 0) continue;
    next(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)end)), &first_out, &second_out);
    _mm256_storeu_si256((__m256i*)out, first_out);
    out += 32;
  }
}

}  // namespace
