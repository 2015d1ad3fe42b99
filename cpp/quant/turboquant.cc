// The mean-square quantiser behind turboquant.h.
#include "quant/turboquant.h"

#include <cassert>

#include "base/buffer.h"
#include "quant/row_math.h"

namespace spectralkv {

std::string_view row_scale_name(RowScale scale) {
  switch (scale) {
    case RowScale::norm:
      return "norm";
    case RowScale::least_squares:
      return "least_squares";
    case RowScale::unbiased:
      return "unbiased";
    case RowScale::length:
      return "length";
  }
  return "?";
}

RowScale row_scale_from_name(std::string_view name) {
  for (const RowScale scale : kAllRowScales)
    if (row_scale_name(scale) == name) return scale;
  fail(ErrorKind::value, "quant", "unknown row scale '", name,
       "': expected norm, least_squares,"
       " unbiased or length");
}

std::uint16_t row_scale(RowScale scale, const RowSums& sums, double distortion) {
  switch (scale) {
    case RowScale::norm:
      return saturating_f16(sums.norm);
    case RowScale::least_squares:
      return saturating_f16(sums.row_levels / sums.levels_levels);
    case RowScale::unbiased:
      return saturating_f16(sums.norm / (1.0 - distortion));
    case RowScale::length:
      return saturating_f16(sums.norm / std::sqrt(sums.levels_levels));
  }
  return 0;
}

std::uint16_t quantize_row(const float* row, int dim, const Codebook& codebook, RowScale scale,
                           std::uint8_t* codes) {
  RowSums sums;
  sums.norm = std::sqrt(dot_in_double(row, row, dim));
  const double inverse = sums.norm > 0 ? 1.0 / sums.norm : 0.0;  // of floats: it cannot overflow a double
  constexpr int kChunk = 256;
  float unit[kChunk];
  for (int start = 0; start < dim; start += kChunk) {
    const int n = std::min(kChunk, dim - start);
    for (int i = 0; i < n; ++i) unit[i] = static_cast<float>(static_cast<double>(row[start + i]) * inverse);
    nearest_codes(codebook, unit, n, codes + start);
    if (scale == RowScale::least_squares || scale == RowScale::length) {
      float levels[kChunk];
      for (int i = 0; i < n; ++i) levels[i] = codebook.levels[codes[start + i]];
      sums.row_levels += dot_in_double(row + start, levels, n);
      sums.levels_levels += dot_in_double(levels, levels, n);
    }
  }
  return row_scale(scale, sums, codebook.distortion);
}

void dequantize_row(std::uint16_t scale, const std::uint8_t* codes, int dim, const Codebook& codebook,
                    float* row) {
  const float factor = skv_f16_to_f32(scale);
  const float* levels = codebook.levels.data();
  for (int i = 0; i < dim; ++i) row[i] = factor * levels[codes[i]];
}

TurboQuant::TurboQuant(int dim, int bits, RotationKind rotation, std::uint64_t seed, RowScale scale)
    : rotation_(rotation, dim, seed), codebook_(unit_vector_codebook(dim, bits)), scale_(scale) {}

EncodedVectors TurboQuant::encode(ConstMatrix vectors) const {
  check(vectors.cols == dim(), "quant", "vectors of ", vectors.cols, " dimensions for a quantiser of ",
        dim());
  check_finite(vectors);
  const auto d = static_cast<std::size_t>(dim()), n = static_cast<std::size_t>(vectors.rows);
  Buffer<float> rotated(n * d);
  rotation_.apply(vectors, {rotated.data(), vectors.rows, vectors.cols});
  EncodedVectors encoded{std::vector<std::uint16_t>(n), std::vector<std::uint8_t>(n * d)};
  for (std::size_t r = 0; r < n; ++r)
    encoded.scales[r] =
        quantize_row(rotated.data() + r * d, dim(), codebook_, scale_, encoded.codes.data() + r * d);
  return encoded;
}

void TurboQuant::decode(const EncodedVectors& encoded, Matrix vectors) const {
  const auto d = static_cast<std::size_t>(dim()), n = static_cast<std::size_t>(vectors.rows);
  check(vectors.cols == dim() && encoded.scales.size() == n && encoded.codes.size() == n * d, "quant",
        encoded.scales.size(), " scales and ", encoded.codes.size(), " codes do not make vectors [",
        vectors.rows, ", ", dim(), "]");
  for (const std::uint8_t code : encoded.codes)
    check(code < codebook_.levels.size(), "quant", "code ", static_cast<int>(code), " in a codebook of ",
          codebook_.levels.size(), " levels");
  Buffer<float> rotated(n * d);
  for (std::size_t r = 0; r < n; ++r)
    dequantize_row(encoded.scales[r], encoded.codes.data() + r * d, dim(), codebook_, rotated.data() + r * d);
  rotation_.apply_transpose({rotated.data(), vectors.rows, vectors.cols}, vectors);
}

void turboquant_round_trip(ConstMatrix vectors, int bits, RotationKind rotation, std::uint64_t seed,
                           RowScale scale, Matrix out) {
  const TurboQuant quantizer(static_cast<int>(vectors.cols), bits, rotation, seed, scale);
  quantizer.decode(quantizer.encode(vectors), out);
}

}  // namespace spectralkv
