// The residual as TurboQuant has it ([T], arXiv 2504.19874): each entry of a rotated row by itself as one of
// the levels of a Lloyd-Max codebook, each row times one number, its scale.
#pragma once

#include <cstdint>

#include "formats/coded_block.h"
#include "kv/codecs/row_scales.h"
#include "quant/lloyd_max.h"

namespace spectralkv {

extern const ResidualRow kScalarResidual;

std::unique_ptr<const ResidualQuantiser> make_scalar_residual(std::int64_t head_dim, int bits,
                                                              RowScales scales, KvSide side,
                                                              bool given_width = false);

// Codes of 2, 3 and 4 bits lie in tiles (formats/codetiles.h), keys with tokens as rows and values with
// channels as rows, and are multiplied as whole numbers: levels rounded to bytes, queries to bytes,
// probabilities to 16 bits. Codes of other widths lie in rows (formats/bitpack.h) and are multiplied in f32;
// so do those of one bit that a spec names for all heads, as they always did: where that width was given to a
// head (kv/bits_by_head.h) it has tiles too.
SkvCodeOrder code_order(int bits, KvSide side, bool given_width);

// A codebook's levels as bytes: level[i] is near unit * bytes[i].
struct ByteLevels {
  float unit = 0;
  std::int8_t bytes[16] = {};
};
// The unit in which the levels (of up to 4 bits) come nearest to whole numbers up to 127.
ByteLevels byte_levels(const Codebook& codebook);

}  // namespace spectralkv
