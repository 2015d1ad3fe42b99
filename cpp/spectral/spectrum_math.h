// The formulas of eOptShrink that the host and a CUDA device share (edge.h, noise_spectrum.h and shrinkers.h
// say what they mean).
#pragma once

#include <cmath>

#include "base/host_device.h"
#include "spectral/loss.h"
#include "spectral/shrinkers.h"

namespace spectralkv {

// near = lambda_{k+1}, far = lambda_{2k+1}.
SKV_HD inline double edge_of(double near, double far) {
  return near + (near - far) / (cbrt(4.0) - 1.0);
}

// What an outlier exceeds. A product, so that an edge of zero (a block of exactly low rank) needs no case of
// its own.
SKV_HD inline double outlier_threshold(double edge, int head_dim) {
  return edge * (1.0 + 1.0 / cbrt(static_cast<double>(head_dim)));
}

// Eigenvalues of a Gram matrix of `count` rows at or below this are its rounding.
SKV_HD inline double eigenvalue_floor(double largest, int count) {
  const double epsilon = 2.2204460492503131e-16;
  return static_cast<double>(count) * epsilon * (largest > 0 ? largest : 0.0);
}

// The j-th of the k imputed points, j = 1..k. near = lambda_{r+k+1}, far = lambda_{r+2k+1}.
SKV_HD inline double imputed_point(double near, double far, int j, int k) {
  const double slope = (near - far) / (cbrt(4.0) - 1.0);
  const double share = static_cast<double>(j) / k;
  const double quantile = cbrt(share * share);
  return near + (1.0 - quantile) * slope;
}

SKV_HD inline double clamp_to(double value, double low, double high) {
  return value < low ? low : high < value ? high : value;
}

// noise(i): point i of n.
template <class Noise>
SKV_HD inline Outlier d_transform_of(const Noise& noise, int n, double beta, double x) {
  double m1 = 0, m1_derived = 0;
  for (int i = 0; i < n; ++i) {
    const double g = 1.0 / (noise(i) - x);
    m1 += g;
    m1_derived += g * g;
  }
  m1 /= static_cast<double>(n);
  m1_derived /= static_cast<double>(n);
  const double m2 = -(1.0 - beta) / x + beta * m1;
  const double m2_derived = (1.0 - beta) / (x * x) + beta * m1_derived;

  Outlier outlier;
  outlier.x = x;
  outlier.t = x * m1 * m2;
  outlier.t_derived = m1 * m2 + x * m1_derived * m2 + x * m1 * m2_derived;
  outlier.d_hat = 1.0 / sqrt(outlier.t);
  // 1 / d_hat^2 = T. With all points below x both are in [0, 1] by Jensen's inequality; the clamp catches
  // rounding.
  outlier.a1 = clamp_to(m1 * outlier.t / outlier.t_derived, 0.0, 1.0);
  outlier.a2 = clamp_to(m2 * outlier.t / outlier.t_derived, 0.0, 1.0);
  return outlier;
}

SKV_HD inline double shrunken_value(const Outlier& outlier, Loss loss) {
  const double observed = sqrt(outlier.x);
  double phi = observed;
  switch (loss) {
    case Loss::frobenius:
      phi = outlier.d_hat * sqrt(outlier.a1 * outlier.a2);
      break;
    case Loss::operator_norm:
      phi = outlier.d_hat;
      break;
    case Loss::nuclear:
      phi = outlier.d_hat * (sqrt(outlier.a1 * outlier.a2) - sqrt((1.0 - outlier.a1) * (1.0 - outlier.a2)));
      break;
    case Loss::truncate:
      break;
  }
  return clamp_to(phi, 0.0, observed);
}

}  // namespace spectralkv
