// Matrices of b-bit codes, b = 1 to 4, in tiles of 16 rows by 4 columns, as integer dot products read
// them. Host and device, no STL.
//
// A matrix is [rows, depth]: depth is what a product sums over. Both are padded, rows to a multiple of 16 and
// depth to one of 4, with codes 0. Tiles follow each other without gaps, those of the first 16 rows first, in
// rising depth. A tile holds 64 codes in 8 b bytes; code (row i, column j) of a tile has position p = 4 i +
// j, so that a register of 64 bytes in the order of positions has row i in its 32-bit lane i.
//
//     1 bit    8 bytes: bit p % 8 of byte p / 8, a 64-bit mask as it stands
//     2 bits   16 bytes: byte i holds the codes of positions i, i + 16, i + 32, i + 48, lowest bits first.
//              Broadcast them to four 128-bit lanes and shift lane l right by 2 l: every byte has its code in
//              its two lowest bits.
//     3 bits   the 16 bytes of the codes' two low bits, then 8 bytes with the third, as one bit has them
//     4 bits   32 bytes: byte i holds the codes of positions i and i + 32, the first in the low half
//
// A table of 64 bytes that repeats the levels makes the bits above a code harmless. Tiles start at any byte.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/host_device.h"

enum { kSkvTileRows = 16, kSkvTileDepth = 4, kSkvTileCodes = 64 };

SKV_HD static inline size_t skv_tile_bytes(int bits) {
  return 8u * (size_t)bits;
}
// Tiles behind each other that sixteen rows take.
SKV_HD static inline size_t skv_tile_groups(size_t depth) {
  return (depth + 3) / 4;
}
// Bytes of a whole matrix.
SKV_HD static inline size_t skv_tiled_bytes(size_t rows, size_t depth, int bits) {
  return (rows + 15) / 16 * skv_tile_groups(depth) * skv_tile_bytes(bits);
}

// Bit `bit` of each of 64 codes. mask: [8] out.
SKV_HD static inline void skv_pack_mask(const uint8_t* codes, int bit, uint8_t* mask) {
  for (int i = 0; i < 8; ++i) {
    unsigned byte = 0;
    for (int j = 0; j < 8; ++j) byte |= (codes[8 * i + j] >> bit & 1u) << j;
    mask[i] = (uint8_t)byte;
  }
}

// codes: [64] by position, each below 2^bits. tile: [skv_tile_bytes(bits)] out.
SKV_HD static inline void skv_pack_tile(const uint8_t* codes, int bits, uint8_t* tile) {
  if (bits == 1) return skv_pack_mask(codes, 0, tile);
  if (bits == 4) {
    for (int i = 0; i < 32; ++i) tile[i] = (uint8_t)(codes[i] | (codes[i + 32] << 4));
    return;
  }
  for (int i = 0; i < 16; ++i)
    tile[i] = (uint8_t)((codes[i] & 3) | ((codes[i + 16] & 3) << 2) | ((codes[i + 32] & 3) << 4) |
                        ((codes[i + 48] & 3) << 6));
  if (bits == 3) skv_pack_mask(codes, 2, tile + 16);
}

// The code at one position of a tile.
SKV_HD static inline unsigned skv_tile_code(const uint8_t* tile, int bits, int position) {
  if (bits == 1) return tile[position >> 3] >> (position & 7) & 1u;
  if (bits == 4) return tile[position & 31] >> (position >> 5 << 2) & 15u;
  const unsigned low = tile[position & 15] >> (position >> 4 << 1) & 3u;
  if (bits == 2) return low;
  return low | ((tile[16 + (position >> 3)] >> (position & 7) & 1u) << 2);
}

// The matrix whose entry (r, k) is codes[r * row_stride + k * depth_stride]; tiles:
// [skv_tiled_bytes(rows, depth, bits)] out.
SKV_HD static inline void skv_pack_tiles(const uint8_t* codes, size_t rows, size_t depth, size_t row_stride,
                                         size_t depth_stride, int bits, uint8_t* tiles) {
  for (size_t r = 0; r < rows; r += 16)
    for (size_t k = 0; k < depth; k += 4) {
      uint8_t tile[kSkvTileCodes];
      for (size_t p = 0; p < kSkvTileCodes; ++p) {
        const size_t row = r + p / 4, column = k + p % 4;
        tile[p] = row < rows && column < depth ? codes[row * row_stride + column * depth_stride] : 0;
      }
      skv_pack_tile(tile, bits, tiles);
      tiles += skv_tile_bytes(bits);
    }
}

// Code (r, k) of such a matrix.
SKV_HD static inline unsigned skv_tiled_code(const uint8_t* tiles, size_t depth, int bits, size_t r,
                                             size_t k) {
  const size_t tile = r / 16 * skv_tile_groups(depth) + k / 4;
  return skv_tile_code(tiles + tile * skv_tile_bytes(bits), bits, (int)(r % 16 * 4 + k % 4));
}
