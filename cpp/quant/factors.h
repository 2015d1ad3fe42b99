// Quantised singular vectors: a Gaussian codebook times one f16 scale a column.
#pragma once

#include <cstdint>

#include "quant/lloyd_max.h"

namespace spectralkv {

// eOptShrinkQ ([E], arXiv 2605.02905) stores u_i and v_i with 4 bits an entry. Entries of a unit vector of
// length n are about normal with variance 1/n: codes come from sqrt(n) column / |column| in the Gaussian
// codebook, the scale is the least-squares one for those codes, <u, c> / <c, c>. column: [n] finite values;
// codebook: gaussian_codebook(bits); codes: [n] out. Returns the scale as f16 bits, saturating; 0 for a
// column of zeros.
std::uint16_t quantize_factor(const float* column, int n, const Codebook& codebook, std::uint8_t* codes);

// column[i] = f16 scale * levels[codes[i]]. column: [n] out.
void dequantize_factor(std::uint16_t scale, const std::uint8_t* codes, int n, const Codebook& codebook,
                       float* column);

}  // namespace spectralkv
