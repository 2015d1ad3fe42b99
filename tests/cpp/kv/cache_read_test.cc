// What a cache's `read` gives is what attention reads, and a fork goes on as the cache.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "cpp/kv/codec_cases.h"
#include "support/compare.h"
#include "support/host_cache.h"

namespace spectralkv::cache_read_test {
namespace {

using testing_support::HostCache;
using testing_support::normals;

constexpr std::int64_t kHeads = 2, kDim = 64, kTokens = 700, kWidth = kHeads * kDim;

class Reading : public testing::TestWithParam<std::string> {};

double norm(const float* a, const float* b) {
  double sum = 0;
  for (std::int64_t c = 0; c < kDim; ++c) {
    const double x = static_cast<double>(a[c]) - (b == nullptr ? 0.0 : static_cast<double>(b[c]));
    sum += x * x;
  }
  return std::sqrt(sum);
}

// A query along one token's key looks at that token alone, so what comes out is the token's value as read.
// Keys of 64 normal numbers: the token's logit is near 4 * 64 / 8 = 32, that of another below 4 * 8 * 4 / 8 =
// 16, so 700 others weigh 1e-4 at most.
TEST_P(Reading, IsWhatAttentionReads) {
  ThreadPool pool(2);
  HostCache held({1, kHeads, kDim}, kTokens + 1, GetParam(), GetParam(), pool);
  Cache& cache = held.cache;
  const auto k = normals(1, static_cast<std::size_t>((kTokens + 1) * kWidth));
  const auto v = normals(2, static_cast<std::size_t>((kTokens + 1) * kWidth));
  held.append(0, {k.data(), kTokens, kWidth}, {v.data(), kTokens, kWidth});
  std::vector<float> k_read(static_cast<std::size_t>(kTokens * kWidth)), v_read(k_read.size());
  const Matrix k_all(k_read.data(), kTokens, kWidth), v_all(v_read.data(), kTokens, kWidth);
  cache.read(0, 0, k_all, v_all);

  const Appended next(cache.layer(0), {k.data() + kTokens * kWidth, 1, kWidth},
                      {v.data() + kTokens * kWidth, 1, kWidth}, held.work);
  const CacheLayout& layout = cache.format().layer(0).layout;
  const std::int64_t sealed = layout.sealed_for(kTokens) * layout.block;
  double apart = 0;
  for (const std::int64_t t : {0, 3, 4, 127, 128, 300, 511, 512, 639, 640, 699}) {
    std::vector<float> q(k.begin() + t * kWidth, k.begin() + (t + 1) * kWidth), out(kWidth);
    for (float& x : q) x *= 4;
    attend(next, {kHeads, 1 / std::sqrt(static_cast<float>(kDim)), 0}, {q.data(), 1, kWidth},
           {out.data(), 1, kWidth}, held.work);
    for (std::int64_t h = 0; h < kHeads; ++h) {
      // A probability is rounded to 8 bits where codes meet it.
      EXPECT_LT(norm(out.data() + h * kDim, v_all.row(t) + h * kDim),
                0.01 * norm(v_all.row(t) + h * kDim, nullptr))
          << GetParam() << ", token " << t << ", head " << h;
      if (t >= layout.sink && t < sealed)
        apart += norm(v_all.row(t) + h * kDim, v.data() + t * kWidth + h * kDim);
    }
  }
  if (cache.format().layer(0).lossy) {
    EXPECT_GT(apart, 0.1) << "no block was read as sealed";
  }
}

TEST_P(Reading, AForkGoesOnAsTheCache) {
  ThreadPool pool(2);
  HostCache held({1, kHeads, kDim}, kTokens, GetParam(), GetParam(), pool);
  Cache& cache = held.cache;
  const auto k = normals(3, static_cast<std::size_t>(kTokens * kWidth));
  const auto v = normals(4, static_cast<std::size_t>(kTokens * kWidth));
  const auto append = [&](Cache& to, std::int64_t first, std::int64_t n) {
    const Appended rows(to.layer(0), {k.data() + first * kWidth, n, kWidth},
                        {v.data() + first * kWidth, n, kWidth}, held.work);
  };
  append(cache, 0, 400);
  const auto forked = cache.fork(kTokens);
  auto& copy = static_cast<Cache&>(*forked);
  append(cache, 400, 300);
  EXPECT_EQ(copy.n_tokens(), 400);
  append(copy, 400, 300);
  std::vector<float> all[4];
  for (auto& rows : all) rows.resize(static_cast<std::size_t>(kTokens * kWidth));
  cache.read(0, 0, {all[0].data(), kTokens, kWidth}, {all[1].data(), kTokens, kWidth});
  copy.read(0, 0, {all[2].data(), kTokens, kWidth}, {all[3].data(), kTokens, kWidth});
  EXPECT_EQ(all[0], all[2]);
  EXPECT_EQ(all[1], all[3]);
  // A part is that part of the whole.
  std::vector<float> k_part(static_cast<std::size_t>(450 * kWidth)), v_part(k_part.size());
  cache.read(0, 100, {k_part.data(), 450, kWidth}, {v_part.data(), 450, kWidth});
  EXPECT_TRUE(std::equal(k_part.begin(), k_part.end(), all[0].begin() + 100 * kWidth));
  EXPECT_TRUE(std::equal(v_part.begin(), v_part.end(), all[1].begin() + 100 * kWidth));
}

INSTANTIATE_TEST_SUITE_P(Types, Reading,
                         testing::ValuesIn(testing_support::joined(
                             testing_support::every_codec(),
                             {"q4_0,sink=4,window=30", "turboquant:2,sink=4", "eoptshrinkq:3,paper"})),
                         [](const auto& parameter) { return testing_support::test_name(parameter.param); });

}  // namespace
}  // namespace spectralkv::cache_read_test
