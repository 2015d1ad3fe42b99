// Trellis codes of 2 bits an entry: tiles of codetiles.h whose codes are read in the light of those before
// them. Host and device, no STL.
//
// A code is (own << 1 | path). The entries of a row follow each other in a ring of 4 groups steps: all first
// columns of its tiles in rising depth, then all second, third and fourth ones; step s is column 4 (s mod
// groups) + s / groups, and step -1 is the last. Columns that pad the depth belong to the ring. An entry
// stands for the level of an index of four bits: the highest is its own bit, and the others are sums modulo 2
// of the path bits of its step and the kSkvTrellisMemory steps before, a convolutional code. So four codes
// choose among sixteen levels, and which four depends on what came before (Marcellin and Fischer, "Trellis
// coded quantization", IEEE Trans. Commun. 38, 1990; a ring: bits of a start would be lost on short rows).
//
// Which sums, and the levels: the best of a random search with Lloyd's step for the levels, for normal
// numbers of variance 1, which lose .0773 of their energy on rows of 64 and on longer ones. The best levels
// of single entries at 2 bits lose .1175, the E8 lattice about .089, no code less than .0625.
#pragma once

#include "formats/codetiles.h"

// Bit i of sum j: whether the path bit i steps back takes part. The highest reaches kSkvTrellisMemory steps
// back; sums 0 and 1 know the past alone.
enum {
  kSkvTrellisMemory = 6,
  kSkvTrellisSum0 = 0112,
  kSkvTrellisSum1 = 072,
  kSkvTrellisSum2 = 0133,
  kSkvTrellisLevels = 16
};

// The level of an index in bytes, and what 1 stands for where entries have variance 1.
SKV_HD constexpr int skv_trellis_level(unsigned index) {
  const signed char positive[8] = {9, 12, 31, 34, 56, 64, 87, 127};
  return index < 8 ? -positive[7 - index] : positive[index - 8];
}
#define SKV_TRELLIS_UNIT 0.01674f

// Sums 0 to 2 as bits 0 to 2; window: bit i is the path bit i steps back.
SKV_HD constexpr unsigned skv_trellis_sums(unsigned window) {
  const unsigned masks[3] = {kSkvTrellisSum0, kSkvTrellisSum1, kSkvTrellisSum2};
  unsigned sums = 0;
  for (int j = 0; j < 3; ++j) {
    unsigned bits = window & masks[j], parity = 0;
    for (; bits != 0; bits &= bits - 1) parity ^= 1u;
    sums |= parity << j;
  }
  return sums;
}

// The index of entry (r, k) of a matrix of trellis codes [rows, depth].
SKV_HD static inline unsigned skv_trellis_index(const uint8_t* tiles, size_t depth, size_t r, size_t k) {
  const size_t groups = skv_tile_groups(depth), ring = 4 * groups;
  size_t step = k % 4 * groups + k / 4;
  unsigned window = 0;
  for (int i = 0; i <= kSkvTrellisMemory; ++i) {
    const size_t column = 4 * (step % groups) + step / groups;
    window |= (skv_tiled_code(tiles, depth, 2, r, column) & 1u) << i;
    step = step == 0 ? ring - 1 : step - 1;
  }
  return (skv_tiled_code(tiles, depth, 2, r, k) >> 1) << 3 | skv_trellis_sums(window);
}
