// The shrinkers against closed forms, against Gavish and Donoho on white noise, and against the true singular
// vectors.
#include "spectral/shrinkers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "cpp/spectral/blocks.h"
#include "spectral/eoptshrink.h"

namespace spectralkv {
namespace {

using testing::kDraws;
using testing::Sample;

// The optimal Frobenius shrinker for white noise of variance 1/n (Gavish and Donoho 2017); y an observed
// singular value.
double gavish_donoho(double y, double beta) {
  const double inside = std::pow(y * y - beta - 1, 2) - 4 * beta;
  return inside > 0 ? std::sqrt(inside) / y : 0.0;
}

TEST(Shrinkers, WithoutNoiseNothingShrinks) {
  const std::vector<double> noise(20, 0.0);
  for (const double beta : {0.1, 0.5, 1.0})
    for (const Loss loss : kAllLosses) EXPECT_NEAR(shrink(d_transform(noise, beta, 9.0), loss), 3.0, 1e-12);
}

TEST(Shrinkers, BothFrobeniusFormsAgreeAndCosinesAreCosines) {
  for (std::uint64_t draw = 0; draw < 2000; ++draw) {
    std::vector<double> noise(1 + draw % 60);
    double largest = 0;
    for (std::size_t i = 0; i < noise.size(); ++i) {
      noise[i] = -std::log(random_uniform(draw, i));
      largest = std::max(largest, noise[i]);
    }
    const double beta = random_uniform(draw, 1000);
    const double x = largest * (1 + std::exp(8 * random_uniform(draw, 1001) - 6));
    const Outlier outlier = d_transform(noise, beta, x);
    ASSERT_GT(outlier.t, 0);
    ASSERT_LT(outlier.t_derived, 0);
    const double phi = shrink(outlier, Loss::frobenius);
    const double by_derivative = -outlier.t / (std::sqrt(x) * outlier.t_derived);
    EXPECT_NEAR(phi, by_derivative, 1e-9 * std::sqrt(x));
    EXPECT_LE(shrink(outlier, Loss::nuclear), phi);
    EXPECT_LE(phi, shrink(outlier, Loss::operator_norm));
    EXPECT_LE(shrink(outlier, Loss::operator_norm), shrink(outlier, Loss::truncate));
    EXPECT_EQ(shrink(outlier, Loss::truncate), std::sqrt(x));
    EXPECT_GE(shrink(outlier, Loss::nuclear), 0);
  }
}

TEST(Shrinkers, NamesRoundTrip) {
  for (const Loss loss : kAllLosses) EXPECT_EQ(loss_from_name(loss_name(loss)), loss);
  EXPECT_THROW(loss_from_name("l1"), Error);
}

TEST(Shrinkers, SpikesAt128x128) {
  const std::vector<double> spikes = {8, 5, 3, 2};
  // Means by an independent implementation, over a number of draws that is not recorded: taken as 10.
  const double reference[] = {7.895, 4.826, 2.718, 1.515}, reference_optimum[] = {7.886, 4.811, 2.689, 1.448};
  constexpr int kReferenceDraws = 10;
  const double reference_above[] = {0.0122, 0.0205, 0.0404, 0.0844};
  GramSolver workspace;
  Sample phi[4], optimum[4], above[4];
  int full_rank = 0;
  for (int draw = 0; draw < kDraws; ++draw) {
    const auto block = testing::spiked_block(128, 128, spikes, 5000 + static_cast<std::uint64_t>(draw));
    const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
    ASSERT_GE(result.rank, 3);
    ASSERT_LE(result.rank, 4);
    full_rank += result.rank == 4 ? 1 : 0;
    for (std::size_t i = 0; i < static_cast<std::size_t>(result.rank); ++i) {
      phi[i].add(result.shrunken[i]);
      optimum[i].add(gavish_donoho(result.singular_values[i], 1.0));
      above[i].add(result.shrunken[i] - gavish_donoho(result.singular_values[i], 1.0));
    }
  }
  EXPECT_GE(full_rank, kDraws * 9 / 10);  // the spike of 2 is near the threshold
  for (int i = 0; i < 4; ++i) {
    const double share = std::sqrt(1.0 / phi[i].size() + 1.0 / kReferenceDraws);
    EXPECT_NEAR(phi[i].mean(), reference[i], 4 * phi[i].deviation() * share);
    EXPECT_NEAR(optimum[i].mean(), reference_optimum[i], 4 * optimum[i].deviation() * share);
    // The estimated spectrum stands above the optimum by a finite-size share; its mean over 300 draws by
    // numpy.
    EXPECT_NEAR(above[i].mean(), reference_above[i],
                4 * above[i].deviation() * std::sqrt(1.0 / above[i].size() + 1.0 / 300));
    std::printf("    spike %.0f: phi %.4f +- %.4f, Gavish-Donoho %.4f (reference %.3f, %.3f)\n",
                spikes[static_cast<std::size_t>(i)], phi[i].mean(), phi[i].standard_error(),
                optimum[i].mean(), reference[i], reference_optimum[i]);
  }
}

#ifdef NDEBUG
TEST(Shrinkers, ThreeDigitsAt2048x1024) {
  const std::vector<double> spikes = {8, 5, 3, 2};
  GramSolver workspace;
  const auto block = testing::spiked_block(2048, 1024, spikes, 77);
  const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
  ASSERT_EQ(result.rank, 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const double optimum = gavish_donoho(result.singular_values[i], 0.5);
    std::printf("    spike %.0f: phi %.5f, Gavish-Donoho %.5f\n", spikes[i], result.shrunken[i], optimum);
    EXPECT_NEAR(result.shrunken[i], optimum, 0.001);
  }
}
#endif

TEST(Shrinkers, CosinesMatchTheTrueVectors) {
  const std::vector<double> spikes = {6, 3};
  GramSolver workspace;
  Sample left[2], right[2];  // observed minus predicted squared cosine
  for (int draw = 0; draw < kDraws / 3; ++draw) {
    const auto block = testing::spiked_block(256, 128, spikes, 9000 + static_cast<std::uint64_t>(draw));
    const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
    ASSERT_EQ(result.rank, 2);
    for (int i = 0; i < 2; ++i) {
      const auto at = static_cast<std::size_t>(i);
      const double y = result.singular_values[at];
      const Outlier outlier = d_transform(result.imputed, 0.5, y * y);
      double u = 0, v = 0;
      for (std::size_t t = 0; t < 256; ++t)
        u += static_cast<double>(result.left(i)[t]) * block.u[at * 256 + t];
      for (std::size_t t = 0; t < 128; ++t)
        v += static_cast<double>(result.right(i)[t]) * block.v[at * 128 + t];
      right[i].add(v * v - outlier.a1);  // the short side is p
      left[i].add(u * u - outlier.a2);
    }
  }
  for (int i = 0; i < 2; ++i) {  // 1/p for the finite size
    EXPECT_NEAR(left[i].mean(), 0, 4 * left[i].standard_error() + 1.0 / 128);
    EXPECT_NEAR(right[i].mean(), 0, 4 * right[i].standard_error() + 1.0 / 128);
  }
}

}  // namespace
}  // namespace spectralkv
