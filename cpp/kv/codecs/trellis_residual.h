// The residual in trellis codes of 2 bits an entry (formats/trellis.h): a third less of its energy is lost
// than with scalar codes of the same size.
#pragma once

#include <cstdint>
#include <memory>

#include "kv/codecs/row_scales.h"

namespace spectralkv {

// Widths that it has.
constexpr bool trellis_has(int bits) {
  return bits == 2;
}

std::unique_ptr<const ResidualQuantiser> make_trellis_residual(std::int64_t head_dim, RowScales scales,
                                                               KvSide side);

// What of a residual's energy is lost, about.
inline constexpr double kTrellisDistortion = 0.0773;

// What 1 stands for among a row's levels in bytes (skv_trellis_level), of a row of length 1.
double trellis_unit(std::int64_t head_dim);

}  // namespace spectralkv
