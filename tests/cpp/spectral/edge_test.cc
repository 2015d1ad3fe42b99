// Edge, rank rule and imputation by hand, and on pure noise against the known edge of white noise.
#include "spectral/edge.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cpp/spectral/blocks.h"
#include "spectral/eoptshrink.h"
#include "spectral/noise_spectrum.h"

namespace spectralkv {
namespace {

using testing::kDraws;

TEST(Edge, WindowOfTheHeadDimensions) {
  EXPECT_EQ(edge_window(64), 7);
  EXPECT_EQ(edge_window(80), 8);
  EXPECT_EQ(edge_window(96), 9);
  EXPECT_EQ(edge_window(128), 11);
  EXPECT_EQ(edge_window(256), 15);
  for (int d = 1; d <= 4096; ++d) {
    EXPECT_GE(edge_window(d), 1);
    EXPECT_LE(edge_window(d), std::sqrt(static_cast<double>(d)));
  }
}

TEST(Edge, FormulasByHand) {
  const double c = std::pow(2.0, 2.0 / 3.0) - 1.0;
  const std::vector<double> eigenvalues = {50, 9, 5, 4, 3, 2, 1, 0.5};
  EXPECT_NEAR(bulk_edge(eigenvalues, 2), 5 + (5 - 3) / c, 1e-12);
  // head_dim 8: lambda / edge - 1 > 1/2.
  EXPECT_EQ(count_outliers(eigenvalues, 6.0, 8), 1);
  EXPECT_EQ(count_outliers(eigenvalues, 5.99, 8), 2);
  EXPECT_EQ(count_outliers(std::vector<double>(8, 0.0), 0.0, 8), 0);
  const std::vector<double> noise = impute_noise(eigenvalues, 1, 2, bulk_edge(eigenvalues, 2));
  ASSERT_EQ(noise.size(), 7u);
  EXPECT_NEAR(noise[0], 4 + (1 - std::pow(0.5, 2.0 / 3.0)) / c * (4 - 2), 1e-12);
  EXPECT_NEAR(noise[1], 4, 1e-12);
  EXPECT_EQ(noise[2], 4);
  EXPECT_EQ(noise[6], 0.5);
}

TEST(Edge, ImputedPointsStayBelowTheOutliers) {
  // Flat at the top, then nothing: the square-root law would put the noise above the outlier.
  const std::vector<double> eigenvalues = {1.5, 1, 1, 1, 1, 0, 0, 0};
  const double edge = bulk_edge(eigenvalues, 2);
  EXPECT_EQ(edge, 1.0);
  ASSERT_EQ(count_outliers(eigenvalues, edge, 64), 1);
  for (const double l : impute_noise(eigenvalues, 1, 2, edge)) EXPECT_LE(l, edge);
}

struct NoiseCase {
  std::int64_t n, d;
  double mean_edge, true_edge;  // of 300 draws by an independent implementation; (1 + sqrt(p / n))^2
};

class PureNoise : public ::testing::TestWithParam<NoiseCase> {};

TEST_P(PureNoise, NoFalseRankAndTheKnownMeanEdge) {
  const NoiseCase& c = GetParam();
  GramSolver workspace;
  testing::Sample edges;
  int false_ranks = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto block = testing::spiked_block(c.n, c.d, {}, 100 + static_cast<std::uint64_t>(draw));
    const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
    edges.add(result.edge);
    false_ranks += result.rank > 0 ? 1 : 0;
  }
  EXPECT_EQ(false_ranks, 0);
  // Two means of independent draws, and the reference's last digit.
  const double tolerance = 4 * edges.deviation() * std::sqrt(1.0 / kDraws + 1.0 / 300) + 0.005;
  EXPECT_NEAR(edges.mean(), c.mean_edge, tolerance);
  EXPECT_NEAR(edges.mean(), c.true_edge, 0.07 * c.true_edge);
  RecordProperty("mean_edge", std::to_string(edges.mean()));
  std::printf(
      "    %ld x %ld: %d false ranks in %d draws, mean edge %.4f +- %.4f (reference %.2f, true %.2f)\n",
      static_cast<long>(c.n), static_cast<long>(c.d), false_ranks, kDraws, edges.mean(),
      edges.standard_error(), c.mean_edge, c.true_edge);
}

INSTANTIATE_TEST_SUITE_P(Sizes, PureNoise,
                         ::testing::Values(NoiseCase{128, 128, 3.81, 4.0}, NoiseCase{128, 64, 2.77, 2.914},
                                           NoiseCase{256, 128, 2.82, 2.914}, NoiseCase{512, 128, 2.21, 2.25}),
                         [](const auto& param) {
                           return std::to_string(param.param.n) + "x" + std::to_string(param.param.d);
                         });

}  // namespace
}  // namespace spectralkv
