// Caches whose heads have codecs of their own: what queries read, and that steps and threads change nothing.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kv/bits_by_head.h"
#include "kv/cache_estimate.h"
#include "kv/layer_rows.h"
#include "spectral/metric.h"
#include "support/random_calibration.h"

namespace spectralkv::calibrated_cache_test {
namespace {

using testing_support::normals;
using testing_support::random_calibration;

constexpr std::int64_t kTokens = 420, kHeads = 6;
constexpr CacheShape kShape{2, 3, 64};
constexpr std::int64_t kGroup = kHeads / 3, kWidth = 3 * 64;

struct Rows {
  std::vector<float> q = normals(1, kTokens*kHeads * 64, 1.5), k = normals(2, kTokens*kWidth),
                     v = normals(3, kTokens*kWidth);
};

std::shared_ptr<const CacheFormat> format_of(const std::string& type) {
  return std::make_shared<const CacheFormat>(kShape, type, type, CacheLayout::kNowhere,
                                             random_calibration(kShape, kGroup));
}

std::vector<float> run(const Rows& rows, const std::string& type, std::int64_t batch, int threads,
                       std::vector<float>* read = nullptr) {
  ThreadPool pool(threads);
  CacheWork work(pool, BlockPool());
  Cache cache(format_of(type), kTokens, work.blocks);
  std::vector<float> out(rows.q.size());
  for (std::int64_t t = 0; t < kTokens; t += batch) {
    const std::int64_t n = std::min(batch, kTokens - t);
    for (std::int64_t l = 0; l < 2; ++l) {
      const Appended step(cache.layer(l), {rows.k.data() + t * kWidth, n, kWidth},
                          {rows.v.data() + t * kWidth, n, kWidth}, work);
      attend(step, {kHeads, 0.125f, 0}, {rows.q.data() + t * kHeads * 64, n, kHeads * 64},
             {out.data() + t * kHeads * 64, n, kHeads * 64}, work);
    }
  }
  if (read != nullptr) {
    read->resize(2 * rows.k.size());
    cache.read(1, 0, {read->data(), kTokens, kWidth}, {read->data() + rows.k.size(), kTokens, kWidth});
  }
  return out;
}

TEST(CalibratedCache, HeadsHaveWidthsOfTheirOwn) {
  const auto format = format_of("eoptshrinkq:2.5");
  EXPECT_TRUE(format->calibrated());
  ASSERT_NE(format->calibration(), nullptr);
  std::vector<double> sizes;
  for (const LayerFormat& layer : format->layers())
    for (const SideFormat* side : {&layer.k, &layer.v}) {
      ASSERT_EQ(side->heads.size(), 3u);
      for (std::int64_t h = 0; h < 3; ++h) sizes.push_back(static_cast<double>(side->codec(h).form().bits));
    }
  double sum = 0;
  for (const double bits : sizes) sum += bits;
  EXPECT_EQ(sum, 30);  // 12 heads and sides at 2.5
  EXPECT_NE(*std::min_element(sizes.begin(), sizes.end()), *std::max_element(sizes.begin(), sizes.end()));
}

// Noise has no components, so that blocks are as small as they get, but for rows that draw attention.
TEST(CalibratedCache, EstimatesAddUpAllHeads) {
  const Rows rows;
  for (const char* const type : {"eoptshrinkq:2.5,rows=0", "eoptshrinkq:2", "eoptshrinkq:1.5,rows=0"}) {
    ThreadPool pool(1);
    CacheWork work(pool, BlockPool());
    Cache cache(format_of(type), kTokens, work.blocks);
    for (std::int64_t l = 0; l < 2; ++l)
      Appended(cache.layer(l), {rows.k.data(), kTokens, kWidth}, {rows.v.data(), kTokens, kWidth}, work);
    const CacheEstimate estimate = estimate_cache(cache.format(), kTokens);
    const CacheReport report = cache.report();
    EXPECT_LE(estimate.least, report.bytes()) << type;
    EXPECT_GE(estimate.most, report.bytes()) << type;
    if (!std::string(type).ends_with(",rows=0")) continue;
    EXPECT_NEAR(estimate.k.bits / report.k.honest_bits, 1, 0.02) << type;
    EXPECT_NEAR(estimate.v.bits / report.v.honest_bits, 1, 0.02) << type;
  }
}

TEST(CalibratedCache, WhatUsesNoCalibrationKeepsNone) {
  for (const char* const type : {"f16", "turboquant:2", "eoptshrinkq:2,paper", "q8_0"}) {
    EXPECT_FALSE(format_of(type)->calibrated()) << type;
    EXPECT_EQ(format_of(type)->calibration(), nullptr) << type;
  }
  const CacheFormat without(kShape, "eoptshrinkq:2", "eoptshrinkq:2");
  EXPECT_TRUE(without.calibrated());
  EXPECT_EQ(without.layer(0).k.heads.size(), 1u) << "without a calibration all heads are alike";
}

TEST(CalibratedCache, SameBitsForAnyBatchAndThreads) {
  const Rows rows;
  for (const char* const type : {"eoptshrinkq:2,window=32,block=64", "eoptshrinkq:3.25"}) {
    const auto expected = run(rows, type, kTokens, 1);
    for (const std::int64_t batch : {std::int64_t{1}, std::int64_t{100}})
      for (const int threads : {1, 3}) {
        const auto out = run(rows, type, batch, threads);
        EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0)
            << type << ", batch " << batch << ", threads " << threads;
      }
  }
}

double norm(const float* x, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(sum);
}
// Of a symmetric matrix [64, 64]: the largest sum of a row's magnitudes is no less than the largest
// eigenvalue.
double most_it_stretches(const float* matrix) {
  double most = 0;
  for (std::int64_t i = 0; i < 64; ++i) {
    double sum = 0;
    for (std::int64_t j = 0; j < 64; ++j) sum += std::fabs(static_cast<double>(matrix[64 * i + j]));
    most = std::max(most, sum);
  }
  return most;
}
double longest(const float* rows, std::int64_t d) {
  double top = 0;
  for (std::int64_t t = 0; t < kTokens * kWidth / d; ++t) top = std::max(top, norm(rows + t * d, d));
  return top;
}

// The last query against attention over what `read` gives for it. At one bit that is not given out by head,
// codes are multiplied in f32, so that both sides differ by the rounding of their sums alone: a logit by (d +
// 2) eps of its factors' lengths, with a query that has been stretched, and a row that was stretched back, by
// up to `stretch`; the output by twice that of a logit, and by the sum over tokens.
TEST(CalibratedCache, QueriesReadWhatReadGives) {
  const Rows rows;
  std::vector<float> read;
  const auto out = run(rows, "eoptshrinkq:1,allot=even", kTokens, 2, &read);
  const float* const queries = rows.q.data() + (kTokens - 1) * kHeads * 64;
  const LayerRows dense{1,
                        kShape,
                        {kHeads, 0.125f, 0},
                        {read.data(), kTokens, kWidth},
                        {read.data() + rows.k.size(), kTokens, kWidth},
                        {queries, 1, kHeads * 64}};
  ThreadPool pool(1);
  std::vector<float> expected(kHeads * 64);
  attend_to(dense, dense.k, dense.v, pool, {expected.data(), 1, kHeads * 64});
  double stretch = 0;  // at least |T| |T^-1|
  const auto calibration = random_calibration(kShape, kGroup);
  for (std::int64_t h = 0; h < 3; ++h) {
    std::vector<float> inverse(64 * 64);
    invert_stretch(calibration->metric(1, h), {inverse.data(), 64, 64});
    stretch = std::max(stretch,
                       most_it_stretches(calibration->metric(1, h).data) * most_it_stretches(inverse.data()));
  }
  const double k = longest(read.data(), 64), v = longest(read.data() + rows.k.size(), 64),
               logit =
                   3 * 0.125 * (64 + 2) * testing_support::kEps * longest(rows.q.data(), 64) * k * stretch,
               tolerance = v * (2 * logit + 4 * (64 + kTokens + 32) * testing_support::kEps);
  testing_support::Comparison compare("attention over a calibrated cache");
  const float* const got = out.data() + (kTokens - 1) * kHeads * 64;
  for (std::size_t i = 0; i < expected.size(); ++i)
    compare.add(static_cast<double>(got[i]), static_cast<double>(expected[i]), tolerance);

  const LayerRows exact{
      1,      kShape, dense.attention, {rows.k.data(), kTokens, kWidth}, {rows.v.data(), kTokens, kWidth},
      dense.q};
  std::vector<float> of_exact(expected.size());
  attend_to(exact, exact.k, exact.v, pool, {of_exact.data(), 1, kHeads * 64});
  double away = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    away = std::max(away, std::fabs(static_cast<double>(expected[i]) - static_cast<double>(of_exact[i])));
  EXPECT_GT(away, 2 * tolerance) << "nothing was compressed, or the bound says nothing";
}

TEST(CalibratedCache, AnotherModelsIsRefused) {
  for (const CacheShape& shape : {CacheShape{1, 3, 64}, CacheShape{2, 2, 64}, CacheShape{2, 3, 32}}) try {
      const CacheFormat format(kShape, "eoptshrinkq:2", "eoptshrinkq:2", CacheLayout::kNowhere,
                               random_calibration(shape, kGroup));
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::value);
      EXPECT_NE(std::string(e.what()).find("another model"), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace spectralkv::calibrated_cache_test
