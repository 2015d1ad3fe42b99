// Eight blocks at once against one at a time.
#include "spectral/gram_lanes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "blocks.h"
#include "spectral/eoptshrink.h"

namespace spectralkv {
namespace {

using testing::Block;
using testing::spiked_block;

// Blocks of one shape: spikes of several sizes, pure noise, zeros, one direction, a tie of spikes, a huge
// spike.
std::vector<Block> blocks_of(std::int64_t n, std::int64_t d) {
  std::vector<Block> blocks;
  for (const auto& spikes :
       {std::vector<double>{9, 6, 4}, {}, {5, 5, 5}, {1e4, 4}, {20, 19, 18, 17, 3.5}, {0.2}})
    blocks.push_back(spiked_block(n, d, spikes, 5 + blocks.size()));
  blocks.push_back(spiked_block(n, d, {}, 1, 0.0));  // zeros
  blocks.push_back(spiked_block(n, d, {3}, 2, 0.0));
  return blocks;
}

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

TEST(GramLanes, FindsWhatTheSingleSolverFinds) {
  GramLanes lanes;
  GramSolver single;
  for (const auto& [n, d] :
       {std::pair{128, 64}, {128, 128}, {124, 64}, {128, 80}, {40, 128}, {128, 96}, {5, 3}}) {
    const auto blocks = blocks_of(n, d);
    std::vector<ConstMatrix> views;
    for (const Block& block : blocks) views.push_back(block.view());
    std::vector<EOptShrinkResult> found(views.size());
    eoptshrink_lanes(views, Loss::frobenius, lanes, found);
    for (std::size_t i = 0; i < views.size(); ++i) {
      const auto expected = eoptshrink(views[i], Loss::frobenius, single);
      ASSERT_EQ(found[i].rank, expected.rank) << n << " x " << d << ", block " << i;
      // Squared values are good to n epsilon of the largest; the rest follows from them.
      const double top = std::pow(expected.singular_values[0], 2), p = std::min(n, d);
      const double bound = 64 * p * std::numeric_limits<double>::epsilon() * top;
      for (std::size_t j = 0; j < expected.singular_values.size(); ++j)
        EXPECT_NEAR(std::pow(found[i].singular_values[j], 2), std::pow(expected.singular_values[j], 2),
                    bound);
      EXPECT_NEAR(found[i].edge, expected.edge, 4 * bound);
      for (int r = 0; r < expected.rank; ++r) {
        const auto at = static_cast<std::size_t>(r);
        EXPECT_NEAR(found[i].shrunken[at], expected.shrunken[at],
                    16 * bound / expected.singular_values[at] + 1e-12 * expected.singular_values[at]);
        if (i == 2) continue;  // spikes of one size: their vectors may turn among each other
        EXPECT_NEAR(dot(found[i].left(r), expected.left(r)), 1, 1e-6) << n << " x " << d << ", block " << i;
        EXPECT_NEAR(dot(found[i].right(r), expected.right(r)), 1, 1e-6) << n << " x " << d << ", block " << i;
      }
    }
  }
}

TEST(GramLanes, ABlockAloneGivesTheSameBits) {
  GramLanes lanes;
  const auto blocks = blocks_of(128, 64);
  std::vector<ConstMatrix> views;
  for (const Block& block : blocks) views.push_back(block.view());
  std::vector<EOptShrinkResult> together(views.size());
  eoptshrink_lanes(views, Loss::truncate, lanes, together);
  for (std::size_t i = 0; i < views.size(); ++i) {
    GramLanes fresh;
    EOptShrinkResult alone;
    eoptshrink_lanes({&views[i], 1}, Loss::truncate, fresh, {&alone, 1});
    EXPECT_EQ(alone.singular_values, together[i].singular_values);
    EXPECT_EQ(alone.u, together[i].u);
    EXPECT_EQ(alone.v, together[i].v);
    EXPECT_GT(fresh.held_bytes(), 64 * 64 * 64);
  }
}

TEST(GramLanes, NonFiniteValuesAreErrors) {
  GramLanes lanes;
  Block block = spiked_block(64, 32, {5}, 7);
  block.values[3 * 32 + 4] = std::numeric_limits<float>::quiet_NaN();
  const ConstMatrix views[] = {block.view()};
  EXPECT_THROW(lanes.load(views), Error);
}

}  // namespace
}  // namespace spectralkv
