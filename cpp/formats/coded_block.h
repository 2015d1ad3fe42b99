// Where the parts of a block of codes with low-rank factors stand (kv/codecs/eoptshrinkq.cc has the format).
// Host and device, no STL.
#pragma once

#include "formats/bitpack.h"
#include "formats/codetiles.h"

// How the codes of a block lie: tiles with tokens as rows, tiles with channels as rows, or rows of bitpack.h.
enum SkvCodeOrder { kSkvTokenTiles, kSkvChannelTiles, kSkvCodeRows };

// factor_bits: of every factor entry in a block that does not say otherwise.
typedef struct {
  int d, bits, factor_bits;
  enum SkvCodeOrder order;
} SkvCodedFormat;

// What the first bytes of a block say of its components: byte 0 is the rank, its highest bit set where each
// component has a width of its own. Then these widths, a byte each and an even number of bytes, stand behind
// the shares (2 + 2 rank).
enum { kSkvOwnWidths = 0x80 };
typedef struct {
  int rank, all;          // all: the width where there are none
  const uint8_t* widths;  // [rank], or null
} SkvFactors;

SKV_HD static inline SkvFactors skv_factors(SkvCodedFormat f, const uint8_t* block) {
  SkvFactors factors = {block[0] & (kSkvOwnWidths - 1), f.factor_bits, 0};
  if (block[0] & kSkvOwnWidths) factors.widths = block + 2 + 2 * factors.rank;
  return factors;
}
SKV_HD static inline int skv_factor_width(SkvFactors f, int i) {
  return f.widths ? f.widths[i] : f.all;
}
// Of the components before number i. A column of m entries, m a multiple of 16, takes m / 8 bytes a bit.
SKV_HD static inline size_t skv_factor_bits_before(SkvFactors f, int i) {
  if (!f.widths) return (size_t)(i * f.all);
  size_t sum = 0;
  for (int j = 0; j < i; ++j) sum += f.widths[j];
  return sum;
}
// Codes of a component's own width from here on are whole numbers: code c of b bits stands for
// (c - 2^(b-1)) / 2^(b-1). All others are indices into the Gaussian codebook of their width.
enum { kSkvWholeWidth = 8 };
SKV_HD static inline int skv_factor_is_whole(SkvFactors f, int i) {
  return f.widths && f.widths[i] >= kSkvWholeWidth;
}

// Offsets from the start of a block, in bytes.
typedef struct {
  size_t weights, left, right, norms, codes, end;
  size_t left_bit, right_bit;  // bytes that a bit of each code of a column takes
} SkvCodedBlock;

SKV_HD static inline size_t skv_code_bytes(SkvCodedFormat f, size_t n) {
  if (f.order == kSkvTokenTiles) return skv_tiled_bytes(n, (size_t)f.d, f.bits);
  if (f.order == kSkvChannelTiles) return skv_tiled_bytes((size_t)f.d, n, f.bits);
  return n * skv_packed_bytes(f.d, f.bits);
}

// Of n tokens with `rank` components of `bits` bits in all, with widths of their own or without.
SKV_HD static inline SkvCodedBlock skv_coded_block_of(SkvCodedFormat f, size_t n, size_t rank, int own_widths,
                                                      size_t bits) {
  SkvCodedBlock b;
  b.left_bit = (n + 15) / 16 * 2;
  b.right_bit = (size_t)f.d / 8;
  b.weights = 2;
  b.left = b.weights + 2 * rank + (own_widths ? (rank + 1) / 2 * 2 : 0);
  b.right = b.left + bits * b.left_bit;
  b.norms = b.right + bits * b.right_bit;
  b.codes = b.norms + 2 * n;
  b.end = b.codes + skv_code_bytes(f, n);
  return b;
}
// Of n tokens with these components. Component i's columns start at left + left_bit * bits_before(i) and
// right + right_bit * bits_before(i).
SKV_HD static inline SkvCodedBlock skv_coded_block(SkvCodedFormat f, size_t n, SkvFactors factors) {
  return skv_coded_block_of(f, n, (size_t)factors.rank, factors.widths != 0,
                            skv_factor_bits_before(factors, factors.rank));
}

// Code of channel c of token t of a block of n tokens; codes: where they begin.
SKV_HD static inline unsigned skv_coded_code(SkvCodedFormat f, const uint8_t* codes, size_t n, size_t t,
                                             size_t c) {
  if (f.order == kSkvTokenTiles) return skv_tiled_code(codes, (size_t)f.d, f.bits, t, c);
  if (f.order == kSkvChannelTiles) return skv_tiled_code(codes, n, f.bits, c, t);
  return skv_packed_code(codes + t * skv_packed_bytes(f.d, f.bits), f.d, f.bits, (int)c);
}
