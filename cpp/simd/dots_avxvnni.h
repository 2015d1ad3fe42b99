// Sums of four byte products a lane, by AVX-VNNI.
#pragma once

#include <immintrin.h>

namespace {

// acc + the products of unsigned and signed bytes, four a lane. AVX-512's form of the instruction, where an
// object is compiled for that instead, gives the same.
inline __m256i byte_dots(__m256i acc, __m256i unsigned_bytes, __m256i signed_bytes) {
#if defined(__AVXVNNI__)
  return _mm256_dpbusd_avx_epi32(acc, unsigned_bytes, signed_bytes);
#else
  return _mm256_dpbusd_epi32(acc, unsigned_bytes, signed_bytes);
#endif
}

}  // namespace
