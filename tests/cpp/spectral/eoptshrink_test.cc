// What eoptshrink returns is a singular value decomposition, does not depend on scale, stride or threads, and
// never fails.
#include "spectral/eoptshrink.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "cpp/spectral/blocks.h"
#include "spectral/edge.h"

namespace spectralkv {
namespace {

using testing::Block;
using testing::spiked_block;

// u, v orthonormal, Y v = s u and Y^T u = s v to a share of the largest singular value.
void expect_singular_vectors(ConstMatrix block, const EOptShrinkResult& result, double share) {
  ASSERT_EQ(result.singular_values.size(), static_cast<std::size_t>(std::min(block.rows, block.cols)));
  ASSERT_EQ(result.shrunken.size(), static_cast<std::size_t>(result.rank));
  for (std::size_t i = 1; i < result.singular_values.size(); ++i)
    EXPECT_LE(result.singular_values[i], result.singular_values[i - 1]);
  for (int i = 0; i < result.rank; ++i) {
    const auto u = result.left(i), v = result.right(i);
    for (int j = 0; j <= i; ++j) {
      double uu = 0, vv = 0;
      for (std::size_t t = 0; t < u.size(); ++t)
        uu += static_cast<double>(u[t]) * static_cast<double>(result.left(j)[t]);
      for (std::size_t t = 0; t < v.size(); ++t)
        vv += static_cast<double>(v[t]) * static_cast<double>(result.right(j)[t]);
      EXPECT_NEAR(uu, i == j ? 1 : 0, 1e-6);
      EXPECT_NEAR(vv, i == j ? 1 : 0, 1e-6);
    }
    const double s = result.singular_values[static_cast<std::size_t>(i)];
    const double tolerance = share * result.singular_values[0];
    for (std::int64_t t = 0; t < block.rows; ++t) {
      double sum = 0;
      for (std::int64_t c = 0; c < block.cols; ++c)
        sum += static_cast<double>(block(t, c)) * static_cast<double>(v[static_cast<std::size_t>(c)]);
      EXPECT_NEAR(sum, s * static_cast<double>(u[static_cast<std::size_t>(t)]), tolerance);
    }
    for (std::int64_t c = 0; c < block.cols; ++c) {
      double sum = 0;
      for (std::int64_t t = 0; t < block.rows; ++t)
        sum += static_cast<double>(block(t, c)) * static_cast<double>(u[static_cast<std::size_t>(t)]);
      EXPECT_NEAR(sum, s * static_cast<double>(v[static_cast<std::size_t>(c)]), tolerance);
    }
    const double phi = result.shrunken[static_cast<std::size_t>(i)];
    EXPECT_TRUE(std::isfinite(phi));
    EXPECT_GE(phi, 0);
    EXPECT_LE(phi, s * (1 + 1e-12));
  }
}

TEST(EOptShrink, SingularVectorsOfTallAndWideBlocks) {
  GramSolver workspace;
  for (const auto& [n, d] : {std::pair{128, 128}, {128, 64}, {64, 128}, {128, 80}, {96, 256}, {300, 96}}) {
    const Block block = spiked_block(n, d, {9, 6, 4}, 1);
    const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
    EXPECT_EQ(result.rank, 3) << n << " x " << d;
    EXPECT_EQ(result.imputed.size(), static_cast<std::size_t>(std::min(n, d) - 3));
    // float vectors: 128 terms of 1e-7 each at worst
    expect_singular_vectors(block.view(), result, 1e-6);
  }
}

TEST(EOptShrink, LowRankPartReducesTheError) {
  GramSolver workspace;
  const Block block = spiked_block(128, 128, {9, 6, 4}, 2);
  const auto result = eoptshrink(block.view(), Loss::truncate, workspace);
  std::vector<float> low(128 * 128);
  low_rank_part(result, {low.data(), 128, 128});
  double rest = 0, tail = 0;
  for (std::size_t i = 0; i < low.size(); ++i)
    rest += std::pow(static_cast<double>(block.values[i] - low[i]), 2);
  for (std::size_t i = 3; i < 128; ++i) tail += std::pow(result.singular_values[i], 2);
  EXPECT_NEAR(rest, tail, 1e-5 * tail);  // Eckart-Young
}

TEST(EOptShrink, PowersOfTwoScaleExactlyAndStrideDoesNotMatter) {
  GramSolver workspace;
  const Block block = spiked_block(128, 64, {9, 6, 4}, 3);
  const auto expected = eoptshrink(block.view(), Loss::frobenius, workspace);
  for (const int exponent : {-130, -100, 0, 100, 120}) {
    std::vector<float> wide(128 * 70, std::numeric_limits<float>::quiet_NaN());
    for (std::size_t t = 0; t < 128; ++t)
      for (std::size_t c = 0; c < 64; ++c) wide[t * 70 + c] = std::ldexp(block.values[t * 64 + c], exponent);
    const auto result = eoptshrink({wide.data(), 128, 64, 70}, Loss::frobenius, workspace);
    ASSERT_EQ(result.rank, expected.rank);
    if (exponent == -130) continue;  // subnormal floats have lost bits
    EXPECT_EQ(result.u, expected.u);
    EXPECT_EQ(result.v, expected.v);
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_EQ(result.shrunken[i], std::ldexp(expected.shrunken[i], exponent));
  }
}

TEST(EOptShrink, DegenerateBlocks) {
  GramSolver workspace;
  for (const Loss loss : kAllLosses)
    for (const auto& [n, d] : {std::pair{128, 128}, {128, 64}, {40, 128}}) {
      const auto size = static_cast<std::size_t>(n * d);
      std::vector<std::vector<float>> blocks;
      blocks.emplace_back(size, 0.0f);
      blocks.emplace_back(size, 1e30f);  // one direction, everything else 0
      std::vector<float> repeated(size), diagonal(size, 0.0f), single(size, 0.0f), two(size), huge(size);
      for (std::size_t i = 0; i < size; ++i) {
        const std::size_t t = i / static_cast<std::size_t>(d), c = i % static_cast<std::size_t>(d);
        repeated[i] = static_cast<float>(random_normal(1, c));
        if (t == c) diagonal[i] = t < 30 ? 3.0f : 1.0f;  // ties, and more spikes than k
        two[i] = static_cast<float>(random_normal(2, c) + (t % 2 == 0 ? 1 : -1) * random_normal(3, c));
        huge[i] = static_cast<float>(1e12 * random_normal(4, t) * random_normal(5, c) + random_normal(6, i));
      }
      single[size / 2] = -7.0f;
      for (auto* block : {&repeated, &diagonal, &single, &two, &huge}) blocks.push_back(*block);
      blocks.push_back(
          spiked_block(n, d, std::vector<double>(30, 50.0), 4).values);   // more equal spikes than k
      blocks.push_back(spiked_block(n, d, {20, 20, 20}, 5, 0.0).values);  // exact ties, no noise
      for (std::size_t b = 0; b < blocks.size(); ++b) {
        SCOPED_TRACE(::testing::Message() << "block " << b << " of " << n << " x " << d);
        const ConstMatrix view(blocks[b].data(), n, d);
        const auto result = eoptshrink(view, loss, workspace);
        EXPECT_LE(result.rank, edge_window(d));
        expect_singular_vectors(view, result, 1e-6);
        if (b == 0) {
          EXPECT_EQ(result.rank, 0);
        }
        if ((b == 1 || b == 2 || b == 4 || b == 6) && n > 3 * edge_window(d)) {
          EXPECT_EQ(result.rank, 1);
        }
      }
    }
}

TEST(EOptShrink, TinyBlocksHaveNoLowRankPart) {
  GramSolver workspace;
  for (int n = 1; n <= 40; ++n)
    for (const int d : {1, 2, 3, 5, 8, 64}) {
      const Block block = spiked_block(n, d, {100}, 6, 0.01);
      const auto result = eoptshrink(block.view(), Loss::frobenius, workspace);
      const bool possible = std::min(n, d) >= 3 * edge_window(d) + 1;
      EXPECT_LE(result.rank, possible ? edge_window(d) : 0) << n << " x " << d;
      if (d == 64 && possible) {
        EXPECT_EQ(result.rank, 1);
      }
      expect_singular_vectors(block.view(), result, 1e-6);
    }
}

TEST(EOptShrink, NonFiniteValuesAreErrorsThatNameThePlace) {
  GramSolver workspace;
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Block block = spiked_block(64, 32, {5}, 7);
    block.values[3 * 32 + 4] = bad;
    try {
      eoptshrink(block.view(), Loss::frobenius, workspace);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("row 3, column 4"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(eoptshrink({nullptr, 0, 8}, Loss::frobenius, workspace), Error);
}

TEST(EOptShrink, BatchEqualsSingleForAnyNumberOfThreads) {
  std::vector<Block> blocks;
  for (std::uint64_t i = 0; i < 9; ++i) blocks.push_back(spiked_block(128, i % 2 ? 64 : 128, {9, 5}, 40 + i));
  std::vector<ConstMatrix> views;
  for (const Block& block : blocks) views.push_back(block.view());
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    const auto results = eoptshrink_batch(views, Loss::nuclear, pool);
    ASSERT_EQ(results.size(), blocks.size());
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      GramSolver fresh;
      const auto expected = eoptshrink(views[i], Loss::nuclear, fresh);
      EXPECT_EQ(results[i].u, expected.u);
      EXPECT_EQ(results[i].v, expected.v);
      EXPECT_EQ(results[i].shrunken, expected.shrunken);
    }
    EXPECT_TRUE(eoptshrink_batch({}, Loss::nuclear, pool).empty());
  }
  blocks[6].values[0] = NAN;
  ThreadPool pool(2);
  try {
    eoptshrink_batch(views, Loss::nuclear, pool);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("block 6 of 9"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace spectralkv
