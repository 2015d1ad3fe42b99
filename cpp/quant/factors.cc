// The factor quantiser behind factors.h.
#include "quant/factors.h"

#include <vector>

#include "quant/row_math.h"

namespace spectralkv {

std::uint16_t quantize_factor(const float* column, int n, const Codebook& codebook, std::uint8_t* codes) {
  if (n == 0) return 0;
  const double deviation = std::sqrt(dot_in_double(column, column, n) / n);
  std::vector<float> values(static_cast<std::size_t>(n), 0.0f);
  for (int i = 0; i < n && deviation > 0; ++i)
    values[static_cast<std::size_t>(i)] = static_cast<float>(static_cast<double>(column[i]) / deviation);
  nearest_codes(codebook, values.data(), n, codes);
  for (int i = 0; i < n; ++i) values[static_cast<std::size_t>(i)] = codebook.levels[codes[i]];
  return saturating_f16(dot_in_double(column, values.data(), n) /
                        dot_in_double(values.data(), values.data(), n));
}

void dequantize_factor(std::uint16_t scale, const std::uint8_t* codes, int n, const Codebook& codebook,
                       float* column) {
  const float factor = skv_f16_to_f32(scale);
  for (int i = 0; i < n; ++i) column[i] = factor * codebook.levels[codes[i]];
}

}  // namespace spectralkv
