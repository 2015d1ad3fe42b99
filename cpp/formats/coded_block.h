// Where the parts of a block of codes with low-rank factors stand (kv/codecs/eoptshrinkq.cc has the format).
// Host and device, no STL.
#pragma once

#include "formats/bitpack.h"
#include "formats/codetiles.h"

// How the codes of a block lie: tiles with tokens as rows, tiles with channels as rows, or rows of bitpack.h.
enum SkvCodeOrder { kSkvTokenTiles, kSkvChannelTiles, kSkvCodeRows };

typedef struct {
  int d, bits, factor_bits;
  enum SkvCodeOrder order;
} SkvCodedFormat;

// Offsets from the start of a block, in bytes.
typedef struct {
  size_t weights, left, right, norms, codes, end;
  size_t left_row, right_row;  // bytes of a factor's codes
} SkvCodedBlock;

SKV_HD static inline size_t skv_code_bytes(SkvCodedFormat f, size_t n) {
  if (f.order == kSkvTokenTiles) return skv_tiled_bytes(n, (size_t)f.d, f.bits);
  if (f.order == kSkvChannelTiles) return skv_tiled_bytes((size_t)f.d, n, f.bits);
  return n * skv_packed_bytes(f.d, f.bits);
}

// Of n tokens at that rank.
SKV_HD static inline SkvCodedBlock skv_coded_block(SkvCodedFormat f, size_t n, size_t rank) {
  SkvCodedBlock b;
  b.left_row = skv_packed_bytes((int)((n + 15) / 16 * 16), f.factor_bits);
  b.right_row = skv_packed_bytes(f.d, f.factor_bits);
  b.weights = 2;
  b.left = b.weights + 2 * rank;
  b.right = b.left + rank * b.left_row;
  b.norms = b.right + rank * b.right_row;
  b.codes = b.norms + 2 * n;
  b.end = b.codes + skv_code_bytes(f, n);
  return b;
}

// Code of channel c of token t of a block of n tokens; codes: where they begin.
SKV_HD static inline unsigned skv_coded_code(SkvCodedFormat f, const uint8_t* codes, size_t n, size_t t,
                                             size_t c) {
  if (f.order == kSkvTokenTiles) return skv_tiled_code(codes, (size_t)f.d, f.bits, t, c);
  if (f.order == kSkvChannelTiles) return skv_tiled_code(codes, n, f.bits, c, t);
  return skv_packed_code(codes + t * skv_packed_bytes(f.d, f.bits), f.d, f.bits, (int)c);
}
