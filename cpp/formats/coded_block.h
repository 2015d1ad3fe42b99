// Where the parts of a block stand: its low-rank part (kv/codecs/eoptshrinkq.cc has the format), and behind
// it a residual in scalar codes (kv/codecs/scalar_residual.cc). Host and device, no STL.
#pragma once

#include "formats/bitpack.h"
#include "formats/codetiles.h"

// What the first bytes of a block say of its parts: byte 0 is the rank, and two flags. kSkvOwnWidths: each
// component has a width of its own; these widths, a byte each and an even number of bytes, stand behind the
// shares. kSkvSecondStage: byte 2 is the number of rows that have a second stage (byte 3 is 0), and the
// shares stand behind it.
enum { kSkvOwnWidths = 0x80, kSkvSecondStage = 0x40, kSkvRankMask = 0x3f, kSkvLeastHead = 2 };
typedef struct {
  int rank, all;          // all: the width where there are none
  int shares_at;          // bytes in front of the shares
  int second_rows;        // with a second stage
  const uint8_t* widths;  // [rank], or null
} SkvFactors;

// plain_width: of every component in a block that names no widths.
SKV_HD static inline SkvFactors skv_factors(int plain_width, const uint8_t* block) {
  SkvFactors factors = {block[0] & kSkvRankMask, plain_width, kSkvLeastHead, 0, 0};
  if (block[0] & kSkvSecondStage) {
    factors.second_rows = block[2];
    factors.shares_at += 2;
  }
  if (block[0] & kSkvOwnWidths) factors.widths = block + factors.shares_at + 2 * factors.rank;
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

// What stands before the residual: offsets from the start of a block, in bytes. The second stage is, for each
// of its rows, a token (u16), then for each a scale (f16), then for each kSkvSecondBits-bit codes of its d
// entries (formats/bitpack.h).
enum { kSkvSecondBits = 4 };
typedef struct {
  size_t shares, left, right, second, residual;
  size_t left_bit, right_bit;  // bytes that a bit of each code of a column takes
} SkvLowRankPart;

SKV_HD static inline size_t skv_second_bytes(int d, size_t rows) {
  return rows * (4 + (size_t)d * kSkvSecondBits / 8);
}

// Of n tokens of d entries with components of `bits` bits in all; of `factors` counts all but the widths'
// values.
SKV_HD static inline SkvLowRankPart skv_low_rank_part_of(int d, size_t n, SkvFactors factors, size_t bits) {
  const size_t rank = (size_t)factors.rank;
  SkvLowRankPart p;
  p.left_bit = (n + 15) / 16 * 2;
  p.right_bit = (size_t)d / 8;
  p.shares = (size_t)factors.shares_at;
  p.left = p.shares + 2 * rank + (factors.widths ? (rank + 1) / 2 * 2 : 0);
  p.right = p.left + bits * p.left_bit;
  p.second = p.right + bits * p.right_bit;
  p.residual = p.second + skv_second_bytes(d, (size_t)factors.second_rows);
  return p;
}
// Of n tokens with these components. Component i's columns start at left + left_bit * bits_before(i) and
// right + right_bit * bits_before(i).
SKV_HD static inline SkvLowRankPart skv_low_rank_part(int d, size_t n, SkvFactors factors) {
  return skv_low_rank_part_of(d, n, factors, skv_factor_bits_before(factors, factors.rank));
}

// How scalar codes lie: tiles with tokens as rows, tiles with channels as rows, or rows of bitpack.h.
enum SkvCodeOrder { kSkvTokenTiles, kSkvChannelTiles, kSkvCodeRows };
typedef struct {
  int d, bits;
  enum SkvCodeOrder order;
} SkvScalarFormat;

// A residual of n tokens: the scales of its rows, none below 0, then the codes. Scales are f16 [n]; or, where
// the first two bytes have kSkvByteScales set, the largest of them (f16, without that bit), a byte c a token,
// which stands for largest (c / 255)^2, and a byte more if n is odd.
enum { kSkvByteScales = 0x8000, kSkvScaleSteps = 255 };
SKV_HD static inline int skv_has_byte_scales(const uint8_t* residual) {
  return residual[1] >> 7;
}
SKV_HD static inline size_t skv_byte_scales_bytes(size_t n) {
  return 2 + (n + 1) / 2 * 2;
}
SKV_HD static inline int skv_byte_scales_pay(size_t n) {
  return skv_byte_scales_bytes(n) < 2 * n;
}
SKV_HD static inline size_t skv_scale_bytes(const uint8_t* residual, size_t n) {
  return skv_has_byte_scales(residual) ? skv_byte_scales_bytes(n) : 2 * n;
}
SKV_HD static inline size_t skv_code_bytes(SkvScalarFormat f, size_t n) {
  if (f.order == kSkvTokenTiles) return skv_tiled_bytes(n, (size_t)f.d, f.bits);
  if (f.order == kSkvChannelTiles) return skv_tiled_bytes((size_t)f.d, n, f.bits);
  return n * skv_packed_bytes(f.d, f.bits);
}
// Code of channel c of token t of n; codes: where they begin.
SKV_HD static inline unsigned skv_scalar_code(SkvScalarFormat f, const uint8_t* codes, size_t n, size_t t,
                                              size_t c) {
  if (f.order == kSkvTokenTiles) return skv_tiled_code(codes, (size_t)f.d, f.bits, t, c);
  if (f.order == kSkvChannelTiles) return skv_tiled_code(codes, n, f.bits, c, t);
  return skv_packed_code(codes + t * skv_packed_bytes(f.d, f.bits), f.d, f.bits, (int)c);
}
