// Inverse iteration on matrices with known eigenvectors: separated, tied and decoupled.
#include "spectral/tridiagonal.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

namespace spectralkv {
namespace {

void expect_eigenvectors(const std::vector<double>& diagonal, const std::vector<double>& off,
                         const std::vector<double>& values) {
  const std::size_t n = diagonal.size();
  std::vector<double> vectors(n * values.size()), scratch;
  ASSERT_TRUE(tridiagonal_eigenvectors(diagonal, off, values, vectors, scratch));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double* x = vectors.data() + i * n;
    for (std::size_t r = 0; r < n; ++r) {
      const double sum =
          diagonal[r] * x[r] + (r > 0 ? off[r - 1] * x[r - 1] : 0) + (r + 1 < n ? off[r] * x[r + 1] : 0);
      EXPECT_NEAR(sum, values[i] * x[r], 1e-13 * static_cast<double>(n));
    }
    for (std::size_t j = 0; j <= i; ++j) {
      double dot = 0;
      for (std::size_t r = 0; r < n; ++r) dot += x[r] * vectors[j * n + r];
      EXPECT_NEAR(dot, i == j ? 1 : 0, 1e-13);
    }
  }
}

TEST(Tridiagonal, SecondDifference) {
  const std::size_t n = 100;
  std::vector<double> values;
  for (std::size_t k = 0; k < 15; ++k)
    values.push_back(
        2 + 2 * std::cos(std::numbers::pi * static_cast<double>(k + 1) / static_cast<double>(n + 1)));
  expect_eigenvectors(std::vector<double>(n, 2.0), std::vector<double>(n - 1, 1.0), values);
}

TEST(Tridiagonal, TiesAndDecoupledParts) {
  expect_eigenvectors(std::vector<double>(12, 3.0), std::vector<double>(11, 0.0),
                      std::vector<double>(12, 3.0));
  expect_eigenvectors({5, 1, 5, 1, 5}, {0, 0, 0, 0}, {5, 5, 5, 1, 1});
  // Two equal blocks [[2, 1], [1, 2]], joined by a coupling of nothing.
  expect_eigenvectors({2, 2, 2, 2}, {1, 0, 1}, {3, 3, 1, 1});
  expect_eigenvectors({7}, {}, {7});
}

TEST(Tridiagonal, NothingToFindInAZeroMatrix) {
  std::vector<double> none, scratch;
  const std::vector<double> zeros(4, 0.0);
  EXPECT_TRUE(tridiagonal_eigenvectors(zeros, std::span(zeros).first(3), none, none, scratch));
}

TEST(Tridiagonal, AWrongEigenvalueIsReported) {
  std::vector<double> vector(2), scratch;
  EXPECT_FALSE(tridiagonal_eigenvectors(std::vector<double>{2, 1}, std::vector<double>{0.5},
                                        std::vector<double>{9}, vector, scratch));
}

}  // namespace
}  // namespace spectralkv
