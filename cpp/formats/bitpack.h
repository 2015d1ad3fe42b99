// Rows of b-bit codes, b = 1..16, as the compressed cache stores them. Host and device, no STL.
//
// A row holds d codes, d a multiple of 8, in d * b / 8 bytes, without padding. The bits of b split into
// planes of 8, 4, 2 and 1 bits, widest first:
//     b = 1: 1    2: 2    3: 2+1    4: 4    5: 4+1    6: 4+2    7: 4+2+1    8: 8    10: 8+2    12: 8+4    16:
//     8+8
// The first plane holds the lowest bits of every code, the next plane the bits above, and so on: at 3 bits,
// plane one holds code & 3 and plane two code >> 2. A plane of width w is d * w / 8 bytes; in it code i
// occupies the w bits that start at bit (i * w) mod 8 of byte (i * w) / 8, bit 0 the least significant.
// Planes follow each other directly.
//
// So 16 codes from a multiple of 16 on are, in a 4-bit plane, one little-endian 64-bit word; in a 2-bit plane
// one 32-bit word (broadcast it and shift lane i right by 2i: 16 lanes in order); in a 1-bit plane one 16-bit
// word, which is an AVX-512 mask as it stands. At b = 3 and 5 that mask chooses between the two halves of the
// codebook. When d is 8 more than a multiple of 16 the last such word is half as long; readers must not read
// beyond the row. Rows start at any byte.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/host_device.h"

// Bytes of a row of d codes; also, with bits = w, of one plane.
SKV_HD static inline size_t skv_packed_bytes(int d, int bits) {
  return (size_t)d / 8u * (size_t)bits;
}

// Width of the plane that starts at bit `low` of a code of `bits` bits: the largest power of two in what
// remains.
SKV_HD static inline int skv_plane_width(int bits, int low) {
  const int left = bits - low;
  return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

// codes: [d] uint8_t or uint16_t, each below 2^bits (higher bits are ignored). row: [skv_packed_bytes(d,
// bits)] out.
template <class Code>
SKV_HD static inline void skv_pack_codes(const Code* codes, int d, int bits, uint8_t* row) {
  for (int low = 0; low < bits;) {
    const int width = skv_plane_width(bits, low);
    const uint64_t mask = (1u << width) - 1u;
    for (int i = 0; i < d; i += 8) {  // 8 codes fill `width` bytes
      uint64_t word = 0;
      for (int j = 0; j < 8; ++j) word |= (((uint64_t)codes[i + j] >> low) & mask) << (j * width);
      for (int j = 0; j < width; ++j) *row++ = (uint8_t)(word >> (8 * j));
    }
    low += width;
  }
}

// Code i alone, 0 <= i < d.
SKV_HD static inline unsigned skv_packed_code(const uint8_t* row, int d, int bits, int i) {
  unsigned code = 0;
  for (int low = 0; low < bits;) {
    const int width = skv_plane_width(bits, low);
    const unsigned byte = row[i * width / 8];
    code |= ((byte >> (i * width % 8)) & ((1u << width) - 1u)) << low;
    row += skv_packed_bytes(d, width);
    low += width;
  }
  return code;
}
