// Angles in double, so that long contexts keep their precision.
#include "linalg/rope.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/error.h"

namespace spectralkv {

Rope::Rope(std::int64_t dims, double freq_base)
    : base_(freq_base), frequencies_(static_cast<std::size_t>(dims / 2)) {
  check(dims >= 2 && dims % 2 == 0, "linalg", "rope: dimensions must be even and positive, got ", dims);
  check(freq_base > 1, "linalg", "rope: frequency base must be above 1, got ", freq_base);
  for (std::size_t i = 0; i < frequencies_.size(); ++i)
    frequencies_[i] = std::pow(freq_base, -2.0 * static_cast<double>(i) / static_cast<double>(dims));
}

void Rope::scale_linear(double factor) {
  for (double& f : frequencies_) f /= factor;
}

void Rope::divide(std::span<const float> factors) {
  check(factors.size() == frequencies_.size(), "linalg", "rope: ", factors.size(), " frequency factors for ",
        frequencies_.size(), " frequencies");
  for (std::size_t i = 0; i < factors.size(); ++i) {
    check(std::isfinite(factors[i]) && factors[i] > 0, "linalg", "rope: frequency factor ", i,
          " must be positive, got ", factors[i]);
    frequencies_[i] /= static_cast<double>(factors[i]);
  }
}

void Rope::scale_yarn(double factor, double original_context, double beta_fast, double beta_slow,
                      double ext_factor, double attn_factor) {
  const double dims_d = static_cast<double>(dims());
  // The dimension that turns `rotations` times over the original context.
  const auto dimension = [&](double rotations) {
    return dims_d * std::log(original_context / (rotations * 6.283185307179586)) / (2 * std::log(base_));
  };
  const double low = std::max(0.0, std::floor(dimension(beta_fast)));
  const double high = std::min(dims_d - 1, std::ceil(dimension(beta_slow)));
  for (std::size_t i = 0; i < frequencies_.size(); ++i) {
    const double position = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    const double keep = (1 - std::clamp(position, 0.0, 1.0)) * ext_factor;
    frequencies_[i] = frequencies_[i] / factor * (1 - keep) + frequencies_[i] * keep;
  }
  magnitude_ = attn_factor * (ext_factor != 0 ? 1 + 0.1 * std::log(factor) : 1);
}

void Rope::fill(std::int64_t pos0, Matrix out) const {
  assert(out.cols == dims());
  for (std::int64_t t = 0; t < out.rows; ++t)
    for (std::size_t i = 0; i < frequencies_.size(); ++i) {
      const double angle = static_cast<double>(pos0 + t) * frequencies_[i];
      out.row(t)[2 * i] = static_cast<float>(std::cos(angle) * magnitude_);
      out.row(t)[2 * i + 1] = static_cast<float>(std::sin(angle) * magnitude_);
    }
}

}  // namespace spectralkv
