// Quantised singular vectors: a Gaussian codebook times one f16 scale a column.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "quant/factor_math.h"
#include "quant/lloyd_max.h"

namespace spectralkv {

// eOptShrinkQ ([E], arXiv 2605.02905) stores u_i and v_i with 4 bits an entry. Entries of a unit vector of
// length n are about normal with variance 1/n: codes come from sqrt(n) column / |column| in the Gaussian
// codebook, the scale is the least-squares one for those codes, <u, c> / <c, c>. column: [n] finite values;
// codebook: gaussian_codebook(bits); codes: [n] out.
QuantizedColumn quantize_factor(std::span<const float> column, const Codebook& codebook,
                                std::vector<std::uint16_t>& codes);

}  // namespace spectralkv
