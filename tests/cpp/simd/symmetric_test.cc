// Eigenproblems in lanes, of every instruction set that this machine runs, against plain arithmetic and
// Jacobi's rotations.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "base/random.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr double kEpsilon = 0x1p-52;
constexpr auto kLanes = static_cast<std::size_t>(simd::kLanes);

using Dense = std::vector<double>;  // [n, n]

double norm_of(const Dense& a) {
  double sum = 0;
  for (const double value : a) sum += value * value;
  return std::sqrt(sum);
}

// The plain twin of the eigenvalues: turns one pair of coordinates after the other until nothing is left
// beside the diagonal.
std::vector<double> jacobi_eigenvalues(Dense a, std::size_t n) {
  for (int sweep = 0; sweep < 15; ++sweep)
    for (std::size_t p = 0; p < n; ++p)
      for (std::size_t q = p + 1; q < n; ++q) {
        if (a[p * n + q] == 0) continue;
        const double angle = 0.5 * std::atan2(2 * a[p * n + q], a[q * n + q] - a[p * n + p]);
        const double c = std::cos(angle), s = std::sin(angle);
        for (std::size_t i = 0; i < n; ++i) {
          const double x = a[i * n + p], y = a[i * n + q];
          a[i * n + p] = c * x - s * y;
          a[i * n + q] = s * x + c * y;
        }
        for (std::size_t i = 0; i < n; ++i) {
          const double x = a[p * n + i], y = a[q * n + i];
          a[p * n + i] = c * x - s * y;
          a[q * n + i] = s * x + c * y;
        }
      }
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = a[i * n + i];
  std::sort(values.begin(), values.end());
  return values;
}

// Eight unlike matrices of one size: noise, spikes, ties, low rank, zeros, a diagonal, far scales.
std::vector<Dense> matrices(std::size_t n) {
  std::vector<Dense> all(kLanes, Dense(n * n, 0.0));
  for (std::size_t l = 0; l < kLanes; ++l) {
    const std::size_t rank = l == 2 ? 1 : l == 3 ? n / 2 : n;
    for (std::size_t k = 0; k < rank && l != 4 && l != 5 && l != 6; ++k) {
      const double size = l == 1 && k < 2 ? 1e8 : l == 7 ? std::ldexp(1.0, -static_cast<int>(2 * k)) : 1.0;
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j)
          all[l][i * n + j] += size * random_normal(l * 1000 + k, i) * random_normal(l * 1000 + k, j);
    }
    for (std::size_t i = 0; i < n && (l == 5 || l == 6); ++i)
      all[l][i * n + i] = l == 5 ? 1.0 : static_cast<double>(i % 3) * 1e-200;
  }
  return all;
}

class EverySymmetric : public testing::TestWithParam<const simd::Kernels*> {};

TEST_P(EverySymmetric, ReductionAndEigenvalues) {
  const simd::SymmetricKernels& k = GetParam()->symmetric;
  for (const std::size_t n : {1u, 2u, 3u, 5u, 8u, 17u, 64u, 80u}) {
    const auto wanted = matrices(n);
    const auto rows = static_cast<std::int64_t>(n);
    std::vector<double> a(n * n * kLanes), diagonal(n * kLanes), off(n * kLanes), tau(n * kLanes),
        work(2 * n * kLanes);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)  // nobody reads below the diagonal
        for (std::size_t l = 0; l < kLanes; ++l)
          a[(i * n + j) * kLanes + l] = j >= i ? wanted[l][i * n + j] : NAN;
    k.tridiagonalize(a.data(), rows, diagonal.data(), off.data(), tau.data(), work.data());

    // Q e_j for all j, then Q T Q^T.
    std::vector<double> q(n * n * kLanes, 0.0);  // [j][i][lane]
    for (std::size_t j = 0; j < n; ++j) {
      for (std::size_t l = 0; l < kLanes; ++l) q[(j * n + j) * kLanes + l] = 1;
      k.apply_reflectors(a.data(), tau.data(), rows, q.data() + j * n * kLanes);
    }
    std::vector<double> values = diagonal, squares = off;
    ASSERT_TRUE(k.tridiagonal_eigenvalues(values.data(), squares.data(), rows));
    for (std::size_t l = 0; l < kLanes; ++l) {
      const auto at = [&](const std::vector<double>& x, std::size_t i) { return x[i * kLanes + l]; };
      const double norm = norm_of(wanted[l]), bound = 8 * static_cast<double>(n) * kEpsilon * norm;
      double error = 0, tilt = 0;
      for (std::size_t r = 0; r < n; ++r)
        for (std::size_t c = 0; c < n; ++c) {
          double sum = 0, dot = 0;
          for (std::size_t j = 0; j < n; ++j) {
            double right = at(diagonal, j) * at(q, j * n + c);
            if (j > 0) right += at(off, j - 1) * at(q, (j - 1) * n + c);
            if (j + 1 < n) right += at(off, j) * at(q, (j + 1) * n + c);
            sum += at(q, j * n + r) * right;
            dot += at(q, r * n + j) * at(q, c * n + j);
          }
          error = std::max(error, std::fabs(sum - wanted[l][r * n + c]));
          tilt = std::max(tilt, std::fabs(dot - (r == c ? 1.0 : 0.0)));
        }
      EXPECT_LE(error, bound) << "n " << n << " lane " << l;
      EXPECT_LE(tilt, 8 * static_cast<double>(n) * kEpsilon) << "n " << n << " lane " << l;
      std::vector<double> found(n);
      for (std::size_t i = 0; i < n; ++i) found[i] = at(values, i);
      std::sort(found.begin(), found.end());
      const auto expected = jacobi_eigenvalues(wanted[l], n);
      for (std::size_t i = 0; i < n; ++i)
        EXPECT_NEAR(found[i], expected[i], bound) << "n " << n << " lane " << l << " value " << i;
    }
  }
}

TEST_P(EverySymmetric, ALaneDependsOnItselfAlone) {
  const simd::SymmetricKernels& k = GetParam()->symmetric;
  constexpr std::size_t n = 24;
  const auto all = matrices(n);
  const auto solve = [&](std::size_t which, std::size_t lane, bool others) {
    std::vector<double> a(n * n * kLanes, 0.0), diagonal(n * kLanes), off(n * kLanes), tau(n * kLanes),
        work(2 * n * kLanes);
    for (std::size_t at = 0; at < n * n; ++at)
      for (std::size_t l = 0; l < kLanes; ++l)
        if (l == lane || others) a[at * kLanes + l] = all[l == lane ? which : l][at];
    k.tridiagonalize(a.data(), n, diagonal.data(), off.data(), tau.data(), work.data());
    EXPECT_TRUE(k.tridiagonal_eigenvalues(diagonal.data(), off.data(), n));
    std::vector<double> values;
    for (std::size_t i = 0; i < n; ++i) values.push_back(diagonal[i * kLanes + lane]);
    return values;
  };
  for (const std::size_t which : {0u, 1u, 3u, 7u}) {
    const auto alone = solve(which, 0, false);
    EXPECT_EQ(solve(which, 5, true), alone) << which;
    EXPECT_EQ(solve(which, 2, true), alone) << which;
  }
}

TEST_P(EverySymmetric, GramAgainstDoubles) {
  const simd::SymmetricKernels& k = GetParam()->symmetric;
  for (const auto& [rows, n] :
       {std::pair{1, 1}, {3, 2}, {128, 64}, {127, 65}, {40, 9}, {96, 80}, {128, 100}}) {
    const std::int64_t ld = (n + 7) / 8 * 8;
    std::vector<double> x(static_cast<std::size_t>(rows * ld), 0.0);
    for (std::int64_t t = 0; t < rows; ++t)
      for (std::int64_t c = 0; c < n; ++c)
        x[static_cast<std::size_t>(t * ld + c)] = random_normal(3, static_cast<std::uint64_t>(t * ld + c));
    std::vector<double> a(static_cast<std::size_t>(n * n) * kLanes, -7.0),
        work(static_cast<std::size_t>(4 * ld));
    k.gram(x.data(), rows, ld, n, a.data(), 3, work.data());
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = 0, size = 0;
        for (std::int64_t t = 0; t < rows; ++t) {
          const double product =
              x[static_cast<std::size_t>(t * ld + i)] * x[static_cast<std::size_t>(t * ld + j)];
          sum += product;
          size += std::fabs(product);
        }
        const auto at = static_cast<std::size_t>(i * n + j) * kLanes;
        const double bound = 2 * static_cast<double>(rows) * kEpsilon * size;
        EXPECT_NEAR(a[at + 3], j >= i ? sum : -7.0, j >= i ? bound : 0.0);
        EXPECT_EQ(a[at + 2], -7.0);
      }
  }
}

INSTANTIATE_TEST_SUITE_P(Sets, EverySymmetric, testing::ValuesIn(usable_kernels()),
                         [](const auto& set) { return std::string(set.param->name); });

}  // namespace
}  // namespace spectralkv
