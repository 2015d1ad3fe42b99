// Lloyd-Max codebooks for one coordinate of a random unit vector, and for a standard normal number.
#pragma once

#include <cstdint>
#include <vector>

namespace spectralkv {

inline constexpr int kMaxCodeBits = 8;

// Code i stands for levels[i]; a value belongs to code i when boundaries[i - 1] < value <= boundaries[i].
struct Codebook {
  int bits = 0;
  std::vector<float> levels;      // [2^bits] ascending, levels[i] = -levels[2^bits - 1 - i]
  std::vector<float> boundaries;  // [2^bits - 1] midpoints of the levels
  double distortion = 0;          // E|x - x_hat|^2 / E|x|^2
};

// The scalar quantiser of TurboQuant ([T], arXiv 2504.19874): optimal in the mean square for a coordinate of
// a uniformly random unit vector of dimension `dim`, whose density is Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2))
// (1 - t^2)^((d-3)/2). dim 3..65536, bits 1..8; else a value error. Computed anew at each call in well under
// a millisecond, levels right to 1e-10 before they are rounded to float.
Codebook unit_vector_codebook(int dim, int bits);

// The same for a standard normal number (the limit of sqrt(d) t): for factors, whose length varies.
// bits 1..8.
Codebook gaussian_codebook(int bits);

// codes[i] = the code of values[i]; branch-free. Values beyond the outer levels take those. values, codes:
// [n].
void nearest_codes(const Codebook& codebook, const float* values, int n, std::uint8_t* codes);

}  // namespace spectralkv
