// Which rows draw attention.
#include "kv/drawn_rows.h"

#include <gtest/gtest.h>

#include <vector>

#include "support/compare.h"

namespace spectralkv {
namespace {

using Rows = std::vector<std::uint16_t>;

Rows rows_of(const DrawnRows& drawn) {
  return {drawn.rows().begin(), drawn.rows().end()};
}

// Keys whose first entry is the logit with a query along it.
std::vector<float> keys_with(const std::vector<float>& logits, std::int64_t d) {
  std::vector<float> keys(logits.size() * static_cast<std::size_t>(d));
  for (std::size_t t = 0; t < logits.size(); ++t) keys[t * static_cast<std::size_t>(d)] = logits[t];
  return keys;
}

TEST(DrawnRows, AreThoseAboveTheMedianTheLargestFirst) {
  constexpr std::int64_t kDim = 4;
  const std::vector<float> logits = {10, 10.5, 14, 9.9F, 13.2F, 10, 20, 10.1F, 10.2F, 13.4F, 9.8F};
  const auto keys = keys_with(logits, kDim);
  const std::vector<float> query = {1, 0, 0, 0};
  const ConstMatrix k(keys.data(), 11, kDim), q(query.data(), 1, kDim);  // the median is 10.2
  EXPECT_EQ(rows_of(DrawnRows(k, q, 8)), (Rows{6, 2, 9}));
  EXPECT_EQ(rows_of(DrawnRows(k, q, 2)), (Rows{6, 2}));
  EXPECT_EQ(rows_of(DrawnRows(k, q, 1)), (Rows{6}));
  EXPECT_EQ(rows_of(DrawnRows(k, q, 0)), Rows{});
  EXPECT_EQ(rows_of(DrawnRows(k, q, 8, 9)), (Rows{6}));
  EXPECT_EQ(rows_of(DrawnRows(k, q, 8, 10)), Rows{});
}

TEST(DrawnRows, EachQueryOfTheGroupHasASay) {
  constexpr std::int64_t kDim = 2;
  const std::vector<float> keys = {5, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0}, queries = {1, 0, 0, 1};
  EXPECT_EQ(rows_of(DrawnRows({keys.data(), 6, kDim}, {queries.data(), 2, kDim})), (Rows{3, 0}));
  EXPECT_EQ(rows_of(DrawnRows({keys.data(), 6, kDim}, {queries.data(), 1, kDim})), (Rows{0}));
}

TEST(DrawnRows, EqualRowsDrawNothing) {
  const std::vector<float> keys(3 * 128, 100.0f), query(3, 50.0f);
  EXPECT_TRUE(DrawnRows({keys.data(), 128, 3}, {query.data(), 1, 3}).rows().empty());
}

}  // namespace
}  // namespace spectralkv
