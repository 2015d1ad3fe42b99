// Widths by head: their mean, and that no other choice of up to kUsualBitsByHead does less harm.
#include "kv/bits_by_head.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "base/random.h"
#include "kv/codecs/shared_tables.h"

namespace spectralkv {
namespace {

std::array<double, kMostBitsByHead + 1> distortions() {
  std::array<double, kMostBitsByHead + 1> all{};
  for (int bits = 1; bits <= kMostBitsByHead; ++bits)
    all[static_cast<std::size_t>(bits)] = shared_unit_codebook(64, bits).distortion;
  return all;
}

double harm_of(const std::vector<HeadWish>& wishes, const std::vector<int>& widths) {
  double sum = 0;
  for (std::size_t i = 0; i < wishes.size(); ++i)
    sum += wishes[i].harm * shared_unit_codebook(64, widths[i]).distortion;
  return sum;
}

TEST(BitsByHead, HeadsThatAreAlikeHaveTheMean) {
  for (const int bits : {1, 2, 3, 4, 5}) {
    const std::vector<HeadWish> wishes(7, {static_cast<double>(bits), 1.0, distortions()});
    EXPECT_EQ(bits_by_head(wishes), std::vector<int>(7, bits));
  }
}

TEST(BitsByHead, SpendsWhatThereIsAndNoMore) {
  for (const double mean : {1.0, 1.25, 2.0, 2.3, 3.75, 5.0}) {
    std::vector<HeadWish> wishes;
    for (std::uint64_t i = 0; i < 40; ++i)
      wishes.push_back({mean, std::exp(2 * random_normal(4, i)), distortions()});
    const auto widths = bits_by_head(wishes);
    const double sum = std::accumulate(widths.begin(), widths.end(), 0.0);
    EXPECT_LE(sum, 40 * mean + 1e-6);
    EXPECT_GT(sum, 40 * mean - 1);
    for (const int width : widths) {
      EXPECT_GE(width, kLeastBitsByHead);
      EXPECT_LE(width, mean > kUsualBitsByHead ? kMostBitsByHead : kUsualBitsByHead);
    }
    for (std::size_t i = 0; i < widths.size(); ++i)
      for (std::size_t j = 0; j < widths.size(); ++j)
        EXPECT_TRUE(wishes[i].harm <= wishes[j].harm || widths[i] >= widths[j]);
  }
}

TEST(BitsByHead, NoOtherChoiceDoesLessHarm) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    std::vector<HeadWish> wishes;
    for (std::uint64_t i = 0; i < 4; ++i)
      wishes.push_back({2.5, std::exp(3 * random_normal(seed, i)), distortions()});
    const double best = harm_of(wishes, bits_by_head(wishes));
    std::vector<int> widths(4, kLeastBitsByHead);
    for (int code = 0; code < 256; ++code) {
      for (int i = 0, rest = code; i < 4; ++i, rest /= 4) widths[static_cast<std::size_t>(i)] = 1 + rest % 4;
      if (std::accumulate(widths.begin(), widths.end(), 0) > 10) continue;
      EXPECT_GE(harm_of(wishes, widths), best * (1 - 1e-12));
    }
  }
}

TEST(BitsByHead, OfNobody) {
  EXPECT_TRUE(bits_by_head({}).empty());
}

}  // namespace
}  // namespace spectralkv
