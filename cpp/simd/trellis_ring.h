// What the trellis_*.h files share: where a ring of trellis codes (formats/trellis.h) closes, and what a
// search for codes leaves behind.
#pragma once

#include <stdint.h>
#include <string.h>

#include "formats/trellis.h"

namespace {

constexpr int kTrellisStates = 1 << kSkvTrellisMemory;
constexpr int64_t kTrellisSeam = 32;  // steps on either side by which the state is found where a ring closes

// The three sums of each window.
struct TrellisSums {
  uint8_t of[2 * kTrellisStates];
};
constexpr TrellisSums trellis_sums() {
  TrellisSums sums{};
  for (unsigned window = 0; window < 2u * kTrellisStates; ++window)
    sums.of[window] = (uint8_t)skv_trellis_sums(window);
  return sums;
}
constexpr TrellisSums kTrellisSums = trellis_sums();

// A search counts entries in fortieths of their deviation. What a step costs is a quarter of the square of a
// distance, at most 114: 3249, so that costs fit 16 bits. All states are reached from any other within
// kSkvTrellisMemory steps, so the costs of two states differ by six times that at most; a wrong start costs
// one more.
constexpr int kTrellisFar = 114, kTrellisCost = kTrellisFar * kTrellisFar / 4;
constexpr int kTrellisWrongStart = kSkvTrellisMemory * kTrellisCost + 1;
constexpr int kTrellisFree = -128;  // an entry that pads: it costs nothing

constexpr int trellis_point(unsigned index) {
  const float x = (float)skv_trellis_level(index) * (40 * SKV_TRELLIS_UNIT);
  return (int)(x < 0 ? x - 0.5f : x + 0.5f);
}

// What the search chose on the way into each state, for sixteen rows: bit 15 - s % 16 of back[s / 16] is the
// highest path bit of the window that ends in state s, bit z of own the own bit beside the sums z.
struct TrellisStep {
  uint16_t back[kTrellisStates / 16][16];
  uint16_t own[16];
};

// Tile g of sixteen rows as the ring has it: g < 0 stands before the first columns, where the columns one
// before are.
inline void ring_tile(const uint8_t* tiles, int64_t groups, int64_t g, uint64_t out[2]) {
  int turns = 0;
  for (; g < 0; g += groups) ++turns;
  memcpy(out, tiles + g * 16, 16);
  for (; turns % 4 != 0; --turns)
    for (int i = 0; i < 2; ++i)
      out[i] = (out[i] & 0x00ffffff00ffffffull) << 8 | (out[i] >> 24 & 0x000000ff000000ffull);
}

}  // namespace
