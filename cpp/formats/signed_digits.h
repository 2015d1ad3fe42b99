// Codes of the types with a grid (grids.h): eight at once, a byte each.
#pragma once

#include <stdint.h>

#include "base/host_device.h"

// A member of a grid of eight digits of two bits, or the low and the high byte of two with four digits of
// four bits: a digit a byte, the first in the lowest.
SKV_HD static inline uint64_t skv_spread_pairs(uint16_t places) {
  uint64_t x = places;
  x = (x | x << 24) & 0x000000ff000000ffull;
  x = (x | x << 12) & 0x000f000f000f000full;
  return (x | x << 6) & 0x0303030303030303ull;
}
SKV_HD static inline uint64_t skv_spread_nibbles(uint16_t first, uint16_t second) {
  uint64_t x = first | (uint64_t)second << 32;
  x = (x | x << 8) & 0x00ff00ff00ff00ffull;
  return (x | x << 4) & 0x0f0f0f0f0f0f0f0full;
}

// Bit k of bits as byte k: 0 or 1.
SKV_HD static inline uint64_t skv_spread_bits(unsigned bits) {
  const uint64_t own = ((uint64_t)(bits & 255u) * 0x0101010101010101ull) & 0x8040201008040201ull;
  return ((own + 0x7f7f7f7f7f7f7f7full) >> 7) & 0x0101010101010101ull;  // no byte carries
}

// Eight codes of magnitudes (digits below `count`, a byte each) with signs (bit k: value k is negative):
// places in a table of 2 * count levels that rises from the largest negative to the largest positive one.
template <int count>
SKV_HD static inline void skv_signed_codes(uint64_t digits, unsigned signs, uint8_t* codes) {
  constexpr uint64_t ones = 0x0101010101010101ull;
  const uint64_t negative = skv_spread_bits(signs) * 255u;
  const uint64_t eight = ((digits + count * ones) & ~negative) | (((count - 1) * ones - digits) & negative);
  __builtin_memcpy(codes, &eight, 8);
}

// Eight signs of which seven are stored: an even number is negative.
SKV_HD static inline unsigned skv_even_signs(unsigned seven) {
  unsigned parity = seven & 127u;
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return (seven & 127u) | (parity & 1u) << 7;
}
