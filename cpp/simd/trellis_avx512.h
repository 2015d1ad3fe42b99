// Trellis codes by AVX-512; trellis_scalar.h says what they mean.
#pragma once

#include <immintrin.h>

#include "simd/trellis_ring.h"
#include "simd/trellis_search.h"

namespace {

constexpr int kXor3 = 0x96, kChoose = 0xca;  // of vpternlog: a ^ b ^ c, and b where a is set, else c

// Columns as those one further to the right see them.
inline __m512i ring_turned(__m512i tiles) {
  return _mm512_rol_epi32(tiles, 8);
}

void expand_trellis(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t* ahead,
                    uint8_t* out) {
  static_assert(kSkvTrellisMemory == 6);
  const __m512i path = _mm512_set1_epi8(0x55), pairs = _mm512_set1_epi8(0x33);
  const __m512i tiles01 = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11),
                tiles23 = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
  const uint8_t* const first_tile = tiles;
  for (int64_t r = 0; r < sixteens; ++r, tiles += groups * 16) {
    __m512i last, before;  // four tiles each: those just behind, and those behind these
    if (groups >= 8) {
      last = ring_turned(_mm512_loadu_si512(tiles + (groups - 4) * 16));
      before = ring_turned(_mm512_loadu_si512(tiles + (groups - 8) * 16));
    } else {
      uint64_t eight[8][2];
      for (int i = 0; i < 8; ++i) ring_tile(tiles, groups, i - 8, eight[i]);
      before = _mm512_loadu_si512(eight[0]);
      last = _mm512_loadu_si512(eight[4]);
    }
    // back[i]: the tiles i + 1 before, of those in `last` at first
    __m512i back1 = _mm512_alignr_epi64(last, before, 6), back2 = _mm512_alignr_epi64(last, before, 4);
    const auto next = [&](__m512i now, __m512i* out01, __m512i* out23) {
      const __m512i back5 = back1, back6 = back2;
      back1 = _mm512_alignr_epi64(now, last, 6);
      back2 = _mm512_alignr_epi64(now, last, 4);
      const __m512i back3 = _mm512_alignr_epi64(now, last, 2);
      // The sums of formats/trellis.h: all have the path bits one and three steps back.
      static_assert(kSkvTrellisSum0 == 0112 && kSkvTrellisSum1 == 072 && kSkvTrellisSum2 == 0133);
      const __m512i both = _mm512_xor_si512(back1, back3);
      const __m512i sum0 = _mm512_xor_si512(both, back6);
      const __m512i sum1 = _mm512_ternarylogic_epi64(both, last, back5, kXor3);
      const __m512i sum2 = _mm512_ternarylogic_epi64(sum0, last, now, kXor3);
      const __m512i low = _mm512_ternarylogic_epi64(path, sum0, _mm512_add_epi8(sum1, sum1), kChoose);
      const __m512i high = _mm512_ternarylogic_epi64(path, sum2, now, kChoose);
      const __m512i first = _mm512_ternarylogic_epi64(pairs, low, _mm512_slli_epi32(high, 2), kChoose);
      const __m512i second = _mm512_ternarylogic_epi64(pairs, _mm512_srli_epi32(low, 2), high, kChoose);
      *out01 = _mm512_permutex2var_epi64(first, tiles01, second);
      *out23 = _mm512_permutex2var_epi64(first, tiles23, second);
      last = now;
    };
    __m512i out01, out23;
    const uint8_t* const end = tiles + groups / 4 * 64;
    for (const uint8_t* four = tiles; four < end; four += 64, out += 128) {
      if (ahead != nullptr) __builtin_prefetch(ahead + (four - first_tile), 0, 3);
      next(_mm512_loadu_si512(four), &out01, &out23);
      _mm512_storeu_si512(out, out01);
      _mm512_storeu_si512(out + 64, out23);
    }
    const int rest = (int)(groups % 4);
    if (rest == 0) continue;
    next(_mm512_maskz_loadu_epi64((__mmask8)((1 << 2 * rest) - 1), end), &out01, &out23);
    _mm512_mask_storeu_epi64(out, (__mmask8)(rest > 1 ? 255 : 15), out01);
    if (rest == 3) _mm512_mask_storeu_epi64(out + 64, 15, out23);
    out += 32 * rest;
  }
}

}  // namespace
