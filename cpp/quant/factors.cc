// The factor quantiser behind factors.h.
#include "quant/factors.h"

#include <algorithm>
#include <array>

#include "quant/row_math.h"

namespace spectralkv {

QuantizedColumn quantize_factor(std::span<const float> column, const Codebook& codebook,
                                std::vector<std::uint16_t>& codes) {
  const int n = static_cast<int>(column.size());
  codes.resize(column.size());
  if (n == 0) return {};
  const double squares = dot_in_double(column.data(), column.data(), n), deviation = std::sqrt(squares / n);
  constexpr std::size_t kStep = 256;
  std::vector<float> levels(column.size());
  for (std::size_t first = 0; first < column.size(); first += kStep) {
    const std::size_t count = std::min(kStep, column.size() - first);
    std::array<float, kStep> values;
    std::array<std::uint8_t, kStep> found;
    for (std::size_t i = 0; i < count; ++i)
      values[i] =
          deviation > 0 ? static_cast<float>(static_cast<double>(column[first + i]) / deviation) : 0.0f;
    nearest_codes(codebook, values.data(), static_cast<int>(count), found.data());
    for (std::size_t i = 0; i < count; ++i) {
      codes[first + i] = found[i];
      levels[first + i] = codebook.levels[found[i]];
    }
  }
  return quantized_column(squares, dot_in_double(column.data(), levels.data(), n),
                          dot_in_double(levels.data(), levels.data(), n));
}

}  // namespace spectralkv
