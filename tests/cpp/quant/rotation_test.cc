// Rotations are orthogonal, invert, do not depend on the batch, repeat, and are Haar distributed where they
// say so.
#include "quant/rotation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/random.h"

namespace spectralkv {
namespace {

TEST(Rotation, OrthogonalAndInvertible) {
  for (const RotationKind kind : kAllRotationKinds)
    for (const int dim : {1, 2, 8, 64, 80, 96, 112, 128, 256}) {
      if (!rotation_supports(kind, dim)) continue;
      SCOPED_TRACE(::testing::Message() << rotation_kind_name(kind) << " " << dim);
      const auto d = static_cast<std::size_t>(dim);
      const Rotation rotation(kind, dim, 11);
      const Buffer<float> matrix = rotation.matrix();
      for (std::size_t i = 0; i < d; ++i)
        for (std::size_t j = 0; j <= i; ++j) {
          double dot = 0;
          for (std::size_t c = 0; c < d; ++c)
            dot += static_cast<double>(matrix[i * d + c]) * static_cast<double>(matrix[j * d + c]);
          ASSERT_NEAR(dot, i == j ? 1 : 0, 1e-6);
        }
      std::vector<float> x(5 * d), y(5 * d), back(5 * d);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(3, i));
      rotation.apply({x.data(), 5, dim}, {y.data(), 5, dim});
      rotation.apply_transpose({y.data(), 5, dim}, {back.data(), 5, dim});
      for (std::size_t r = 0; r < 5; ++r)
        for (std::size_t c = 0; c < d; ++c) {
          double sum = 0;
          for (std::size_t j = 0; j < d; ++j)
            sum += static_cast<double>(matrix[c * d + j]) * static_cast<double>(x[r * d + j]);
          // d products of float: the error of a sum of d terms of size |x|/sqrt(d) grows like sqrt(d)
          // epsilon.
          const double tolerance = 6e-8 * 8 * std::sqrt(static_cast<double>(dim)) + 1e-6;
          ASSERT_NEAR(static_cast<double>(y[r * d + c]), sum, tolerance);
          ASSERT_NEAR(static_cast<double>(back[r * d + c]), static_cast<double>(x[r * d + c]), 2 * tolerance);
        }
    }
}

TEST(Rotation, ARowDoesNotDependOnItsNeighbours) {
  for (const RotationKind kind : kAllRotationKinds)
    for (const int dim : {64, 80}) {
      if (!rotation_supports(kind, dim)) continue;
      const Rotation rotation(kind, dim, 5);
      const auto d = static_cast<std::size_t>(dim);
      std::vector<float> x(7 * d), all(7 * d), one(d), all_back(7 * d), one_back(d);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(4, i));
      rotation.apply({x.data(), 7, dim}, {all.data(), 7, dim});
      rotation.apply_transpose({x.data(), 7, dim}, {all_back.data(), 7, dim});
      for (std::size_t r = 0; r < 7; ++r) {
        rotation.apply({x.data() + r * d, 1, dim}, {one.data(), 1, dim});
        rotation.apply_transpose({x.data() + r * d, 1, dim}, {one_back.data(), 1, dim});
        for (std::size_t c = 0; c < d; ++c) {
          ASSERT_EQ(one[c], all[r * d + c]);
          ASSERT_EQ(one_back[c], all_back[r * d + c]);
        }
      }
    }
}

TEST(Rotation, SeedsRepeatAndDiffer) {
  for (const RotationKind kind : kAllRotationKinds) {
    const auto a = Rotation(kind, 64, 1).matrix(), b = Rotation(kind, 64, 1).matrix(),
               c = Rotation(kind, 64, 2).matrix();
    std::size_t differ = 0;
    for (std::size_t i = 0; i < a.size(); ++i) {
      ASSERT_EQ(a[i], b[i]);
      differ += a[i] != c[i] ? 1 : 0;
    }
    EXPECT_GT(differ, a.size() / 4);
  }
}

TEST(Rotation, HaarTraceAndEntries) {
  // For Haar orthogonal matrices tr Q has mean 0 and variance 1 (Diaconis and Shahshahani 1994), an entry
  // variance 1/d and fourth moment 3 / (d (d + 2)). A QR without the sign rule fails the first.
  const int dim = 16, seeds = 2000;
  double trace_sum = 0, trace_squares = 0, fourth = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    const auto q = Rotation(RotationKind::haar, dim, static_cast<std::uint64_t>(seed)).matrix();
    double trace = 0;
    for (std::size_t i = 0; i < 16; ++i) trace += static_cast<double>(q[i * 17]);
    trace_sum += trace;
    trace_squares += trace * trace;
    for (std::size_t i = 0; i < 256; ++i) fourth += std::pow(static_cast<double>(q[i]), 4);
  }
  EXPECT_NEAR(trace_sum / seeds, 0, 4 / std::sqrt(static_cast<double>(seeds)));
  EXPECT_NEAR(trace_squares / seeds, 1, 4 * std::sqrt(2.0 / seeds));  // near normal
  // Var(q^4) is about 96 / d^4; entries count as independent only matrix by matrix at worst, in fact nearly
  // all.
  const double expected = 3.0 / (16.0 * 18.0);
  EXPECT_NEAR(fourth / (256.0 * seeds), expected, 4 * std::sqrt(96.0 / (256.0 * seeds)) / 256.0);
}

TEST(Rotation, HadamardSpreadsAUnitVectorEvenly) {
  const Rotation rotation(RotationKind::hadamard, 128, 9);
  const auto matrix = rotation.matrix();
  int negative = 0;
  for (std::size_t i = 0; i < matrix.size(); ++i)
    EXPECT_FLOAT_EQ(std::fabs(matrix[i]), 1 / std::sqrt(128.0f));
  for (std::size_t c = 0; c < 128; ++c) negative += matrix[c] < 0 ? 1 : 0;  // row 0 shows the signs
  EXPECT_NEAR(negative, 64, 4 * std::sqrt(32.0));
}

TEST(Rotation, Refusals) {
  EXPECT_THROW(Rotation(RotationKind::hadamard, 80, 1), Error);
  EXPECT_THROW(Rotation(RotationKind::haar, 0, 1), Error);
  EXPECT_THROW(Rotation(RotationKind::haar, 5000, 1), Error);
  EXPECT_THROW(rotation_kind_from_name("givens"), Error);
  for (const RotationKind kind : kAllRotationKinds)
    EXPECT_EQ(rotation_kind_from_name(rotation_kind_name(kind)), kind);
}

}  // namespace
}  // namespace spectralkv
