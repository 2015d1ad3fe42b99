// Codes in tiles (formats/codetiles.h) as operands of matrix products. A warp reads eight sixteens of rows at
// once, 32 columns a step, which are eight tiles of each sixteen; a lane holds two of them:
//
//       columns     0..7     8..15     16..23    24..31
//     sixteen 0   | lane 0  | lane 1  | lane 2  | lane 3  |
//     sixteen 1   | lane 4  | lane 5  | lane 6  | lane 7  |      lane 4 g + t: tiles 2 t and 2 t + 1
//        ...                                                     of sixteen g
//     sixteen 7   | lane 28 | lane 29 | lane 30 | lane 31 |
//
// Any row of a tile may be any row of a product. The product of number 4 pair + m has in its rows g and g + 8
// the rows 4 m + 2 pair and the next of sixteen g: `tile_row` says so.
#pragma once

#include "cuda/device/device.h"
#include "formats/codetiles.h"

namespace spectralkv::device_kv {

constexpr int kSixteens = 8;  // of rows that a warp reads together
constexpr int kProducts = 8;

// The row, of a lane's sixteen, that product `index` has in its row g (half 0) or g + 8 (half 1).
SKV_HD inline int tile_row(int index, int half) {
  return index % 4 * 4 + index / 4 * 2 + half;
}

// One tile.
template <int bits>
struct Tile {
  std::uint32_t words[2 * bits];

  // at: a multiple of 16 for 2 and 4 bits, of 8 for 3. Nothing is read unless `there`.
  __device__ __forceinline__ void load(const std::uint8_t* at, bool there) {
    if (!there) {
      for (std::uint32_t& word : words) word = 0;
    } else if constexpr (bits == 3) {
      for (int i = 0; i < 3; ++i) {
        const uint2 two = __ldg(reinterpret_cast<const uint2*>(at + 8 * i));
        words[2 * i] = two.x;
        words[2 * i + 1] = two.y;
      }
    } else {
      for (int i = 0; i < bits / 2; ++i) {
        const uint4 four = __ldg(reinterpret_cast<const uint4*>(at + 16 * i));
        words[4 * i] = four.x;
        words[4 * i + 1] = four.y;
        words[4 * i + 2] = four.z;
        words[4 * i + 3] = four.w;
      }
    }
  }

  // levels: the codebook as bytes. out[m]: row 4 m + r of the tile, a byte a column.
  __device__ __forceinline__ void expand(const std::uint32_t (&levels)[4], int r,
                                         std::uint32_t (&out)[4]) const {
    if constexpr (bits == 2) {
      SKV_UNROLL
      for (int m = 0; m < 2; ++m) {  // a nibble selects: rows m and m + 2 side by side
        const std::uint32_t codes = (words[r] >> 2 * m) & 0x33333333u;
        const std::uint32_t low = __byte_perm(levels[0], 0, codes),
                            high = __byte_perm(levels[0], 0, codes >> 16);
        out[m] = __byte_perm(low, high, 0x6420);
        out[m + 2] = __byte_perm(low, high, 0x7531);
      }
    } else {
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) expand_row(levels, r, m, out[m]);
    }
  }

 private:
  // Row 4 m + r, of 3 or 4 bits.
  __device__ __forceinline__ void expand_row(const std::uint32_t (&levels)[4], int r, int m,
                                             std::uint32_t& out) const {
    if constexpr (bits == 3) {
      const std::uint32_t low = (words[r] >> 2 * m) & 0x03030303u;
      const std::uint32_t third = words[4 + (r + 4 * m) / 8] >> (r + 4 * m) % 8 * 4;
      const std::uint32_t bit =
          (third & 1u) << 2 | (third & 4u) << 4 | (third & 2u) << 9 | (third & 8u) << 11;
      // Columns 0, 2, 1, 3 in the nibbles.
      out = __byte_perm(__byte_perm(levels[0], levels[1], low | low >> 12 | bit), 0, 0x3120);
    } else {
      const std::uint32_t codes = (words[r + 4 * (m % 2)] >> m / 2 * 4) & 0x0f0f0f0fu,
                          low = codes & 0x07070707u;
      const std::uint32_t select = low | low >> 12;
      const std::uint32_t first = __byte_perm(__byte_perm(levels[0], levels[1], select), 0, 0x3120);
      const std::uint32_t second = __byte_perm(__byte_perm(levels[2], levels[3], select), 0, 0x3120);
      const std::uint32_t upper =
          device::permute_bytes(codes << 4, 0, 0xba98);  // the fourth bit, eight times
      out = (first & ~upper) | (second & upper);
    }
  }
};

}  // namespace spectralkv::device_kv
