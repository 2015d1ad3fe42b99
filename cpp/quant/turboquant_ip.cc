// The inner-product quantiser of turboquant.h: kept to compare with, no codec uses it.
#include <cmath>
#include <numbers>
#include <vector>

#include "base/buffer.h"
#include "quant/row_math.h"
#include "quant/turboquant.h"

namespace spectralkv {
namespace {

// The sketch's matrix must not repeat the numbers that made the rotation.
constexpr std::uint64_t kSketchStream = 0x534b455443480000ull;

}  // namespace

void turboquant_ip_round_trip(ConstMatrix vectors, int bits, RotationKind rotation, std::uint64_t seed,
                              Matrix out) {
  check(bits >= 1 && bits <= kMaxCodeBits, "quant", "inner-product quantiser of ", bits,
        " bits: expected 1 to ", kMaxCodeBits);
  check_finite(vectors);
  const auto dim = static_cast<int>(vectors.cols);
  const auto d = static_cast<std::size_t>(dim);
  const std::int64_t n = vectors.rows;
  const TurboQuant mean_square(dim, std::max(1, bits - 1), rotation, seed, RowScale::norm);
  const Buffer<double> sketch = gaussian_matrix(dim, dim, seed ^ kSketchStream);

  std::vector<float> unit(d), unit_hat(d);
  std::vector<double> residual(d);
  const Matrix unit_row(unit.data(), 1, dim), hat_row(unit_hat.data(), 1, dim);
  for (std::int64_t r = 0; r < n; ++r) {
    const float* x = vectors.row(r);
    const double norm = std::sqrt(dot_in_double(x, x, dim));
    for (std::size_t i = 0; i < d; ++i)
      unit[i] = norm > 0 ? static_cast<float>(static_cast<double>(x[i]) / norm) : 0.0f;
    std::fill(unit_hat.begin(), unit_hat.end(), 0.0f);
    if (bits > 1 && norm > 0) mean_square.decode(mean_square.encode(unit_row), hat_row);
    double squares = 0;
    for (std::size_t i = 0; i < d; ++i) {
      residual[i] = static_cast<double>(unit[i]) - static_cast<double>(unit_hat[i]);
      squares += residual[i] * residual[i];
    }
    const double residual_norm = static_cast<double>(skv_f16_to_f32(saturating_f16(std::sqrt(squares))));
    std::vector<double> spread(d, 0.0);  // S^T sign(S r)
    for (std::size_t i = 0; i < d; ++i) {
      const double* row = sketch.data() + i * d;
      double projection = 0;
      for (std::size_t j = 0; j < d; ++j) projection += row[j] * residual[j];
      for (std::size_t j = 0; j < d; ++j) spread[j] += projection < 0 ? -row[j] : row[j];
    }
    const double per_sign = std::sqrt(std::numbers::pi / 2) / static_cast<double>(dim) * residual_norm;
    const double stored_norm = static_cast<double>(skv_f16_to_f32(saturating_f16(norm)));
    for (std::size_t i = 0; i < d; ++i)
      out(r, static_cast<std::int64_t>(i)) =
          static_cast<float>(stored_norm * (static_cast<double>(unit_hat[i]) + per_sign * spread[i]));
  }
}

}  // namespace spectralkv
