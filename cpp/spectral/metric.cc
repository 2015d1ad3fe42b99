// Powers of symmetric matrices by their eigenvalues, in double.
#include "spectral/metric.h"

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Eigenvalues>
#include <cassert>
#include <cmath>
#include <complex>

namespace spectralkv {
namespace {

using Eigen::Index;
using Square = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr double kFlattest = 1.0 / 4096;  // of a stretch's eigenvalues, beside the largest

Square power(const Square& a, double exponent) {
  const Eigen::SelfAdjointEigenSolver<Square> solver(a);
  const auto& values = solver.eigenvalues();
  const double floor = values[values.size() - 1] * 1e-12;
  const Eigen::ArrayXd powers = values.array().max(floor).pow(exponent);
  return solver.eigenvectors() * powers.matrix().asDiagonal() * solver.eigenvectors().transpose();
}

Square with_ridge(std::span<const double> a, Index d, double ridge) {
  Square m = Eigen::Map<const Square>(a.data(), d, d);
  const double mean = m.trace() / static_cast<double>(d);
  m.diagonal().array() += ridge * (mean > 0 ? mean : 1);
  return m;
}

Square from_view(ConstMatrix x) {
  return Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                    Eigen::Unaligned, Eigen::OuterStride<>>(x.data, x.rows, x.cols,
                                                            Eigen::OuterStride<>(x.stride))
      .cast<double>();
}

void to_view(const Square& from, Matrix out) {
  for (std::int64_t i = 0; i < out.rows; ++i)
    for (std::int64_t j = 0; j < out.cols; ++j) out(i, j) = static_cast<float>((from(i, j) + from(j, i)) / 2);
}

}  // namespace

void query_metric(std::span<const double> queries, std::span<const double> residuals, double ridge,
                  Matrix out) {
  const Index d = out.rows;
  assert(out.cols == d && std::ssize(queries) == d * d && std::ssize(residuals) == d * d);
  const Square m = with_ridge(queries, d, ridge), s = with_ridge(residuals, d, ridge);
  const Square half = power(m, 0.5);
  const Square t = power(half * power(half * s * half, -0.5) * half, 0.5);
  to_view(t * std::sqrt(static_cast<double>(d) / (t * t).trace()), out);
}

bool is_stretch(ConstMatrix t) {
  const Eigen::SelfAdjointEigenSolver<Square> solver(from_view(t), Eigen::EigenvaluesOnly);
  const auto& values = solver.eigenvalues();
  return values[0] > values[values.size() - 1] * kFlattest && values[values.size() - 1] > 0;
}

void invert_stretch(ConstMatrix t, Matrix out) {
  to_view(from_view(t).inverse(), out);
}

void average_over_turns(std::span<double> moments, std::span<const double> angles, double span) {
  using Complex = std::complex<double>;
  const auto pairs = std::ssize(angles), d = 2 * pairs;
  assert(std::ssize(moments) == d * d);
  // The mean of exp(i w o) over o in [0, span].
  const auto mean = [span](double w) {
    const double x = w * span;
    return std::fabs(x) < 1e-9 ? Complex(1, 0) : (std::exp(Complex(0, x)) - 1.0) / Complex(0, x);
  };
  const auto at = [&](std::int64_t i, std::int64_t j) -> double& {
    return moments[static_cast<std::size_t>(i * d + j)];
  };
  // With z_p = x_2p + i x_(2p+1): E z_p conj(z_q) and E z_p z_q turn by the difference and the sum of angles.
  for (std::int64_t p = 0; p < pairs; ++p)
    for (std::int64_t q = 0; q < pairs; ++q) {
      double &rr = at(2 * p, 2 * q), &ri = at(2 * p, 2 * q + 1), &ir = at(2 * p + 1, 2 * q),
             &ii = at(2 * p + 1, 2 * q + 1);
      const double fp = angles[static_cast<std::size_t>(p)], fq = angles[static_cast<std::size_t>(q)];
      const Complex a = Complex(rr + ii, ir - ri) * mean(fp - fq);
      const Complex b = Complex(rr - ii, ri + ir) * mean(fp + fq);
      rr = (a + b).real() / 2;
      ii = (a - b).real() / 2;
      ri = (b - a).imag() / 2;
      ir = (a + b).imag() / 2;
    }
}

}  // namespace spectralkv
