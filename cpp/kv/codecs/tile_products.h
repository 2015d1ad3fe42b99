// Products of queries and probabilities with a residual whose codes lie in tiles (formats/codetiles.h), in
// whole numbers: what all quantisers with tiles do.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kv/codec.h"
#include "tensor/matrix.h"

namespace spectralkv {

struct TiledResidual {
  const std::byte* scales;    // of n rows, times the unit of their block (row_scales.h)
  const std::uint8_t* tiles;  // of `bits` bits: keys with tokens as rows, values with channels
  std::int64_t n, d;
  int bits;
  const std::int8_t* levels;  // [2^bits]
  float unit;                 // what 1 stands for among the levels, of a token of scale 1
  const std::uint8_t* ahead;  // tiles that are read next, or null
};

// s[i][t] += unit_of_block scale[t] <q_i, levels of row t>. Both use slots 0 and 2 of `work`.
void add_tile_score(const TiledResidual& residual, float unit_of_block, const Queries& q, Matrix s,
                    CodecWork& work);
// acc_i += unit_of_block sum over t of p[i][t] scale[t] levels of row t.
void add_tile_mix(const TiledResidual& residual, float unit_of_block, ConstMatrix p, Matrix acc,
                  CodecWork& work);

}  // namespace spectralkv
