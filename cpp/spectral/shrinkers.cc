// The formulas behind shrinkers.h.
#include "spectral/shrinkers.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace spectralkv {

Outlier d_transform(std::span<const double> noise, double beta, double x) {
  assert(!noise.empty() && x > 0 && beta > 0 && beta <= 1);
  double m1 = 0, m1_derived = 0;
  for (const double l : noise) {
    const double g = 1.0 / (l - x);
    m1 += g;
    m1_derived += g * g;
  }
  m1 /= static_cast<double>(noise.size());
  m1_derived /= static_cast<double>(noise.size());
  const double m2 = -(1.0 - beta) / x + beta * m1;
  const double m2_derived = (1.0 - beta) / (x * x) + beta * m1_derived;

  Outlier outlier;
  outlier.x = x;
  outlier.t = x * m1 * m2;
  outlier.t_derived = m1 * m2 + x * m1_derived * m2 + x * m1 * m2_derived;
  outlier.d_hat = 1.0 / std::sqrt(outlier.t);
  // 1 / d_hat^2 = T. With all points below x both are in [0, 1] by Jensen's inequality; the clamp catches
  // rounding.
  outlier.a1 = std::clamp(m1 * outlier.t / outlier.t_derived, 0.0, 1.0);
  outlier.a2 = std::clamp(m2 * outlier.t / outlier.t_derived, 0.0, 1.0);
  return outlier;
}

double shrink(const Outlier& outlier, Loss loss) {
  const double observed = std::sqrt(outlier.x);
  double phi = observed;
  switch (loss) {
    case Loss::frobenius:
      phi = outlier.d_hat * std::sqrt(outlier.a1 * outlier.a2);
      break;
    case Loss::operator_norm:
      phi = outlier.d_hat;
      break;
    case Loss::nuclear:
      phi = outlier.d_hat *
            (std::sqrt(outlier.a1 * outlier.a2) - std::sqrt((1.0 - outlier.a1) * (1.0 - outlier.a2)));
      break;
    case Loss::truncate:
      break;
  }
  return std::clamp(phi, 0.0, observed);
}

double frobenius_by_derivative(const Outlier& outlier) {
  return -outlier.t / (std::sqrt(outlier.x) * outlier.t_derived);
}

}  // namespace spectralkv
