// The batched eigen solver, on the device itself, on spectra that are known.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/eigen.cuh"
#include "support/compare.h"

namespace spectralkv {
namespace {

using device::DeviceBuffer;
using device_kv::kMostRank;

// Q diag(values) Q^T [p, p], Q a product of reflections.
std::vector<double> matrix_of(const std::vector<double>& values, std::uint64_t seed) {
  const std::size_t p = values.size();
  std::vector<double> a(p * p);
  for (std::size_t i = 0; i < p; ++i) a[i * p + i] = values[i];
  for (std::uint64_t turn = 0; turn < 3 && p > 1; ++turn) {
    const auto from = testing_support::normals(seed + turn, p);
    std::vector<double> v(from.begin(), from.end()), w(p);
    const double squares = std::inner_product(v.begin(), v.end(), v.begin(), 0.0);
    for (const bool rows : {true, false}) {
      for (std::size_t i = 0; i < p; ++i) {
        w[i] = 0;
        for (std::size_t j = 0; j < p; ++j) w[i] += v[j] * (rows ? a[j * p + i] : a[i * p + j]);
      }
      for (std::size_t i = 0; i < p; ++i)
        for (std::size_t j = 0; j < p; ++j) (rows ? a[j * p + i] : a[i * p + j]) -= 2 / squares * v[j] * w[i];
    }
  }
  for (std::size_t i = 0; i < p; ++i)
    for (std::size_t j = 0; j < i; ++j) a[j * p + i] = a[i * p + j];
  return a;
}

// Solves several at once; each with its own spectrum, rising.
void check(const std::vector<std::vector<double>>& spectra, const std::vector<int>& ranks) {
  const std::size_t count = spectra.size(), p = spectra[0].size();
  std::vector<double> all;
  for (std::size_t i = 0; i < count; ++i) {
    const auto one = matrix_of(spectra[i], 10 * i + p);
    all.insert(all.end(), one.begin(), one.end());
  }
  DeviceBuffer<double> matrices(all.size()), values(count * p), tridiagonal(count * 3 * p),
      work(count * 3 * p * kMostRank), vectors(count * kMostRank * p);
  DeviceBuffer<int> on_device(count);
  matrices.write(all, nullptr);
  on_device.write(ranks, nullptr);
  const device_kv::EigenArgs args{static_cast<int>(p), matrices.data(), values.data(),
                                  tridiagonal.data(),  work.data(),     vectors.data()};
  const dim3 grid(static_cast<unsigned>(count)), block(device_kv::kEigenThreads);
  const auto bytes = [](int doubles) { return static_cast<std::size_t>(doubles) * sizeof(double); };
  device::launch(device_kv::eigen_values<0>, grid, block, bytes(device_kv::eigen_values_shared(args.p)),
                 nullptr, args);
  device::launch(device_kv::eigen_vectors<0>, grid, block, bytes(device_kv::eigen_vectors_shared(args.p)),
                 nullptr, args, on_device.data());
  std::vector<double> got(values.size()), z(vectors.size());
  values.read(got, nullptr);
  vectors.read(z, nullptr);
  device::synchronize(nullptr);
  for (std::size_t i = 0; i < count; ++i) {
    SCOPED_TRACE(i);
    const double top = std::max(std::fabs(spectra[i].front()), std::fabs(spectra[i].back())),
                 bound = 1e-15 * static_cast<double>(p + 20) * std::max(top, 1e-300);
    for (std::size_t j = 0; j < p; ++j) EXPECT_NEAR(got[i * p + j], spectra[i][j], bound) << "value " << j;
    const double* const a = all.data() + i * p * p;
    for (int r = 0; r < ranks[i]; ++r) {
      const double* const x = z.data() + (i * kMostRank + static_cast<std::size_t>(r)) * p;
      for (int e = 0; e <= r; ++e) {
        const double* const y = z.data() + (i * kMostRank + static_cast<std::size_t>(e)) * p;
        EXPECT_NEAR(std::inner_product(x, x + p, y, 0.0), e == r ? 1 : 0, 1e-13)
            << "vectors " << e << ", " << r;
      }
      double squares = 0;
      for (std::size_t j = 0; j < p; ++j) {
        const double rest = std::inner_product(x, x + p, a + j * p, 0.0) -
                            spectra[i][p - 1 - static_cast<std::size_t>(r)] * x[j];
        squares += rest * rest;
      }
      EXPECT_LT(std::sqrt(squares), 4 * bound) << "vector " << r;
    }
  }
}

// The first eigenvalues, and behind them what rises from 1 to 2.
std::vector<double> spectrum(std::size_t p, std::vector<double> outliers) {
  std::vector<double> values;
  for (std::size_t i = 0; i + outliers.size() < p; ++i)
    values.push_back(1 + static_cast<double>(i) / static_cast<double>(p));
  std::sort(outliers.begin(), outliers.end());
  values.insert(values.end(), outliers.begin(), outliers.end());
  return values;
}

TEST(Eigen, FindsOutliersAboveABulk) {
  for (const std::size_t p : {16U, 48U, 100U, 128U, 256U})
    check({spectrum(p, {30, 11, 1000}), spectrum(p, {5, 5.1, 1e8, 7, 8, 9}), spectrum(p, {})}, {3, 6, 1});
}

TEST(Eigen, FindsEqualAndNearlyEqualOnes) {
  const std::size_t p = 64;
  std::vector<double> equal(p, 3), halves(p, 1);
  std::fill(halves.begin() + 32, halves.end(), 2);
  check(
      {spectrum(p, {50, 50, 50, 50}), spectrum(p, {70, 70 * (1 + 1e-15), 70 * (1 + 1e-12), 70 * (1 + 1e-9)}),
       equal, halves, std::vector<double>(p, 0)},
      {4, 4, 16, 16, 2});
}

TEST(Eigen, FindsNegativeOnesAndOneAlone) {
  check({{-5, -1, 0, 2}}, {4});
  check({{7}}, {1});
  check({{-3, 9}}, {2});
}

// What is diagonal, or falls apart into blocks, has nothing beside its diagonal.
TEST(Eigen, TakesWhatIsDiagonalAlready) {
  const std::vector<double> diagonal = {4, 9, 1, 9, 2, 9, 7, 0};
  const std::size_t p = diagonal.size();
  std::vector<double> a(p * p);
  for (std::size_t i = 0; i < p; ++i) a[i * p + i] = diagonal[i];
  DeviceBuffer<double> matrices(a.size()), values(p), tridiagonal(3 * p), work(3 * p * kMostRank),
      vectors(kMostRank * p);
  DeviceBuffer<int> ranks(1);
  matrices.write(a, nullptr);
  const std::vector<int> rank = {4};
  ranks.write(rank, nullptr);
  const device_kv::EigenArgs args{static_cast<int>(p), matrices.data(), values.data(),
                                  tridiagonal.data(),  work.data(),     vectors.data()};
  device::launch(device_kv::eigen_values<0>, dim3(1), dim3(device_kv::kEigenThreads), 8192, nullptr, args);
  device::launch(device_kv::eigen_vectors<0>, dim3(1), dim3(device_kv::kEigenThreads), 8192, nullptr, args,
                 ranks.data());
  std::vector<double> z(vectors.size());
  vectors.read(z, nullptr);
  device::synchronize(nullptr);
  for (std::size_t r = 0; r < 4; ++r)
    for (std::size_t i = 0; i < p; ++i) {
      const bool may = diagonal[i] == (r < 3 ? 9 : 7);
      EXPECT_LE(std::fabs(z[r * p + i]), may ? 1 + 1e-13 : 1e-13) << r << ", " << i;
    }
}

}  // namespace
}  // namespace spectralkv
