// The metric of queries against what defines it.
#include "spectral/metric.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/random.h"
#include "support/compare.h"

namespace spectralkv {
namespace {

using Square = std::vector<double>;  // [d, d]

double at(const Square& a, std::int64_t d, std::int64_t i, std::int64_t j) {
  return a[static_cast<std::size_t>(i * d + j)];
}

Square product(const Square& a, const Square& b, std::int64_t d) {
  Square out(a.size());
  for (std::int64_t i = 0; i < d; ++i)
    for (std::int64_t k = 0; k < d; ++k)
      for (std::int64_t j = 0; j < d; ++j)
        out[static_cast<std::size_t>(i * d + j)] += at(a, d, i, k) * at(b, d, k, j);
  return out;
}

// Of columns whose sizes fall from 1 to `least`.
Square moments(std::int64_t d, double least, std::uint64_t seed) {
  Square m(static_cast<std::size_t>(d * d));
  for (std::int64_t t = 0; t < 3 * d; ++t) {
    std::vector<double> x;
    for (std::int64_t i = 0; i < d; ++i)
      x.push_back(random_normal(seed, static_cast<std::uint64_t>(t * d + i)) *
                  std::pow(least, static_cast<double>(i) / static_cast<double>(d)));
    for (std::int64_t i = 0; i < d; ++i)
      for (std::int64_t j = 0; j < d; ++j)
        m[static_cast<std::size_t>(i * d + j)] +=
            x[static_cast<std::size_t>(i)] * x[static_cast<std::size_t>(j)];
  }
  return m;
}

Square with_ridge(Square m, std::int64_t d, double ridge) {
  double trace = 0;
  for (std::int64_t i = 0; i < d; ++i) trace += at(m, d, i, i);
  for (std::int64_t i = 0; i < d; ++i)
    m[static_cast<std::size_t>(i * d + i)] += ridge * trace / static_cast<double>(d);
  return m;
}

double trace(const Square& m, std::int64_t d) {
  double sum = 0;
  for (std::int64_t i = 0; i < d; ++i) sum += at(m, d, i, i);
  return sum;
}

// G = T^2 is the one positive matrix, up to a factor, with G S G = M; among all stretches it makes the
// product tr(M G^-1) tr(S G) least.
TEST(Metric, IsTheGeometricMean) {
  for (const std::int64_t d : {4, 16, 64}) {
    const Square m = moments(d, 0.01, 1), s = moments(d, 0.1, 2);
    std::vector<float> t(static_cast<std::size_t>(d * d));
    query_metric(m, s, 0.05, {t.data(), d, d});
    const Square stretch(t.begin(), t.end());
    for (std::int64_t i = 0; i < d; ++i)
      for (std::int64_t j = 0; j < d; ++j) EXPECT_EQ(at(stretch, d, i, j), at(stretch, d, j, i));
    const Square g = product(stretch, stretch, d);
    EXPECT_NEAR(trace(g, d), static_cast<double>(d), 1e-4 * static_cast<double>(d));
    const Square mr = with_ridge(m, d, 0.05), sr = with_ridge(s, d, 0.05);
    const Square back = product(product(g, sr, d), g, d);
    const double factor = trace(mr, d) / trace(back, d);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < back.size(); ++i) {
      error += std::pow(factor * back[i] - mr[i], 2);
      size += mr[i] * mr[i];
    }
    EXPECT_LT(std::sqrt(error / size), 1e-4) << d;  // T is f32, and S may be ill-conditioned by 1 / ridge
    EXPECT_TRUE(is_stretch({t.data(), d, d}));

    std::vector<float> inverse(t.size());
    invert_stretch({t.data(), d, d}, {inverse.data(), d, d});
    const Square one = product(stretch, Square(inverse.begin(), inverse.end()), d);
    for (std::int64_t i = 0; i < d; ++i)
      for (std::int64_t j = 0; j < d; ++j) EXPECT_NEAR(at(one, d, i, j), i == j ? 1 : 0, 1e-4);

    const Square inverse_square =
        product(Square(inverse.begin(), inverse.end()), Square(inverse.begin(), inverse.end()), d);
    const double cost = trace(product(mr, inverse_square, d), d) * trace(product(sr, g, d), d);
    EXPECT_LT(cost, trace(mr, d) * trace(sr, d)) << "no better than no metric";
  }
}

TEST(Metric, NothingToKnowGivesNoStretch) {
  constexpr std::int64_t kDim = 8;
  const Square nothing(kDim * kDim);
  std::vector<float> t(kDim * kDim);
  query_metric(nothing, nothing, 0.05, {t.data(), kDim, kDim});
  for (std::int64_t i = 0; i < kDim; ++i)
    for (std::int64_t j = 0; j < kDim; ++j)
      EXPECT_NEAR(static_cast<double>(t[static_cast<std::size_t>(i * kDim + j)]), i == j ? 1 : 0, 1e-6);
}

TEST(Metric, KnowsWhatIsNoStretch) {
  const std::vector<float> singular = {1, 1, 1, 1}, indefinite = {1, 2, 2, 1}, nothing = {0, 0, 0, 0},
                           good = {2, 1, 1, 2};
  for (const auto* t : {&singular, &indefinite, &nothing}) EXPECT_FALSE(is_stretch({t->data(), 2, 2}));
  EXPECT_TRUE(is_stretch({good.data(), 2, 2}));
}

// The closed form against turning every offset.
TEST(Metric, TurnsAverage) {
  constexpr std::int64_t kDim = 8;
  constexpr int kSteps = 20000;
  constexpr double kSpan = 300;
  const std::vector<double> angles = {1.0, 0.1, 0.01, 0.0};
  const Square m = moments(kDim, 0.3, 3);
  Square fast = m, slow(m.size());
  average_over_turns(fast, angles, kSpan);
  for (int step = 0; step < kSteps; ++step) {
    const double o = (step + 0.5) / kSteps * kSpan;
    Square turn(m.size());
    for (std::int64_t p = 0; p < kDim / 2; ++p) {
      const double a = angles[static_cast<std::size_t>(p)] * o;
      turn[static_cast<std::size_t>(2 * p * kDim + 2 * p)] = std::cos(a);
      turn[static_cast<std::size_t>(2 * p * kDim + 2 * p + 1)] = -std::sin(a);
      turn[static_cast<std::size_t>((2 * p + 1) * kDim + 2 * p)] = std::sin(a);
      turn[static_cast<std::size_t>((2 * p + 1) * kDim + 2 * p + 1)] = std::cos(a);
    }
    Square back(m.size());
    for (std::int64_t i = 0; i < kDim; ++i)
      for (std::int64_t j = 0; j < kDim; ++j)
        back[static_cast<std::size_t>(i * kDim + j)] = at(turn, kDim, j, i);
    const Square turned = product(product(turn, m, kDim), back, kDim);
    for (std::size_t i = 0; i < slow.size(); ++i) slow[i] += turned[i] / kSteps;
  }
  const double size = trace(m, kDim);
  // The midpoint rule misses at most (span / steps)^2 / 24 of the second derivative, which is below 2^2.
  for (std::size_t i = 0; i < slow.size(); ++i)
    EXPECT_NEAR(fast[i], slow[i], size * (std::pow(kSpan / kSteps, 2) * 4 / 24 + 1e-9));
}

}  // namespace
}  // namespace spectralkv
