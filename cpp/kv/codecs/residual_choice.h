// The quantisers that a spec names by quantiser=.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "kv/codecs/row_scales.h"

namespace spectralkv {

enum class Quantiser { scalar, trellis };

inline constexpr std::array kAllQuantisers = {Quantiser::scalar, Quantiser::trellis};

std::string_view quantiser_name(Quantiser quantiser);
// Whether it has codes of this width.
bool has_width(Quantiser quantiser, int bits);
// `quantiser` at `bits` bits an entry, or scalar codes of that width where it does not have it.
std::unique_ptr<const ResidualQuantiser> make_residual(Quantiser quantiser, std::int64_t head_dim, int bits,
                                                       RowScales scales, KvSide side,
                                                       bool given_width = false);

// Options scale=, scale_bits= and quantiser=, by default the trellis but for `paper`; a width that the
// quantiser does not have is refused, or, where it is a head's own or nobody asked for the quantiser, given
// to scalar codes.
extern const ResidualRow kChosenResidual;

}  // namespace spectralkv
