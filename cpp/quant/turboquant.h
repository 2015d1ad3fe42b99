// TurboQuant's quantisers ([T], arXiv 2504.19874): rows of rotated coordinates, and whole vectors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "quant/lloyd_max.h"
#include "quant/rotation.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What multiplies a row's levels. With y the row, c its levels and D the codebook's distortion:
//   norm           |y|, as in [T]. The decoded row shrinks: E<q, y_hat> = (1 - D) <q, y>.
//   least_squares  <y, c> / <c, c>: the least mean square error for these codes.
//   unbiased       |y| / (1 - D): E<q, y_hat> = <q, y>, at the price of a larger error.
//   length         |y| / |c|: the decoded row is as long as y, whatever its codes happened to be. Rows of
//                  keys then keep their proportion to each other in a softmax.
enum class RowScale { norm, least_squares, unbiased, length };

inline constexpr std::array kAllRowScales = {RowScale::norm, RowScale::least_squares, RowScale::unbiased,
                                             RowScale::length};

// "norm", "least_squares", "unbiased", "length"; the second throws a value error that lists the choices.
std::string_view row_scale_name(RowScale scale);
RowScale row_scale_from_name(std::string_view name);

// What a row is to the levels that were chosen for it, not yet scaled.
struct RowSums {
  double norm = 0, row_levels = 0, levels_levels = 0;  // |y|, <y, c>, <c, c>
};
// The scale as f16 bits. distortion: what the levels lose of a row's energy on average.
std::uint16_t row_scale(RowScale scale, const RowSums& sums, double distortion);

// Rows that are rotated already. row: [dim] finite values; codebook: unit_vector_codebook(dim, bits); codes:
// [dim] out. Returns the scale as f16 bits; one beyond the range of f16 becomes its largest finite value
// (scale such rows before). A row of zeros has scale 0.
std::uint16_t quantize_row(const float* row, int dim, const Codebook& codebook, RowScale scale,
                           std::uint8_t* codes);

// row[i] = f16 scale * levels[codes[i]]. row: [dim] out.
void dequantize_row(std::uint16_t scale, const std::uint8_t* codes, int dim, const Codebook& codebook,
                    float* row);

// n vectors as scales and codes.
struct EncodedVectors {
  std::vector<std::uint16_t> scales;  // [n] f16
  std::vector<std::uint8_t> codes;    // [n, dim]
};

// The mean-square quantiser of whole vectors: rotate, then quantize_row.
class TurboQuant {
 public:
  // dim 3..4096, bits 1..8, a rotation that exists in dim dimensions; else a value error.
  TurboQuant(int dim, int bits, RotationKind rotation, std::uint64_t seed, RowScale scale = RowScale::norm);

  int dim() const { return rotation_.dim(); }
  const Codebook& codebook() const { return codebook_; }
  const Rotation& rotation() const { return rotation_; }

  // vectors: [n, dim]. A NaN or infinity is a value error that names row and column.
  EncodedVectors encode(ConstMatrix vectors) const;
  // vectors: [n, dim] out.
  void decode(const EncodedVectors& encoded, Matrix vectors) const;

 private:
  Rotation rotation_;
  Codebook codebook_;
  RowScale scale_;
};

// encode and decode at once. vectors, out: [n, dim], not overlapping.
void turboquant_round_trip(ConstMatrix vectors, int bits, RotationKind rotation, std::uint64_t seed,
                           RowScale scale, Matrix out);

// The inner-product quantiser of [T], for comparison only: the mean-square quantiser at bits - 1, then for
// the residual r of the unit vector its length and the signs of S r, S a Gaussian matrix [dim, dim] of the
// same seed:
//     x_hat = |x| (u_hat + sqrt(pi/2) / dim |r| S^T sign(S r)).
// Unbiased: E<q, x_hat> = <q, x> over S. Lengths are f16 as in encode. bits 1..8; at 1 bit u_hat is 0.
// vectors, out: [n, dim], not overlapping; errors as of TurboQuant.
void turboquant_ip_round_trip(ConstMatrix vectors, int bits, RotationKind rotation, std::uint64_t seed,
                              Matrix out);

}  // namespace spectralkv
