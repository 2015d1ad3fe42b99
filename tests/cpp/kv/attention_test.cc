// Attention over the cache against dense double arithmetic, and its independence of batches and threads.
#include "kv/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "support/compare.h"
#include "support/host_cache.h"

namespace spectralkv::attention_test {
namespace {

using testing_support::Comparison;
using testing_support::HostCache;
using testing_support::normals;

struct Case {
  std::int64_t heads, kv_heads, d, n;
  std::int64_t sliding = 0;
  const char* type = "f32";
};

struct Inputs {
  std::vector<float> q, k, v;
};

Inputs make_inputs(const Case& c) {
  return {normals(1, static_cast<std::size_t>(c.n * c.heads * c.d)),
          normals(2, static_cast<std::size_t>(c.n * c.kv_heads * c.d)),
          normals(3, static_cast<std::size_t>(c.n * c.kv_heads * c.d))};
}

// Reads all tokens in batches of `batch`; returns the outputs [n, heads * d].
std::vector<float> run_in_batches(const Case& c, const Inputs& in, std::int64_t batch, int threads) {
  ThreadPool pool(threads);
  HostCache cache({1, c.kv_heads, c.d}, c.n, c.type, c.type, pool);
  const std::int64_t qw = c.heads * c.d, kw = c.kv_heads * c.d;
  std::vector<float> out(static_cast<std::size_t>(c.n * qw), 1e30f);
  for (std::int64_t t = 0; t < c.n; t += batch) {
    const std::int64_t n = std::min(batch, c.n - t);
    cache.attend(0, {c.heads, 1 / std::sqrt(static_cast<float>(c.d)), c.sliding},
                 {in.q.data() + t * qw, n, qw}, {in.k.data() + t * kw, n, kw}, {in.v.data() + t * kw, n, kw},
                 {out.data() + t * qw, n, qw});
  }
  return out;
}

class Dense : public testing::TestWithParam<Case> {};

TEST_P(Dense, MatchesDoubles) {
  const Case& c = GetParam();
  const Inputs in = make_inputs(c);
  const auto out = run_in_batches(c, in, 100, 2);
  const bool f16 = std::strcmp(c.type, "f16") == 0;
  Comparison compare("attention");
  for (std::int64_t t = 0; t < c.n; t += 17)
    for (std::int64_t h = 0; h < c.heads; ++h) {
      const std::int64_t kv = h / (c.heads / c.kv_heads);
      const float* q = in.q.data() + (t * c.heads + h) * c.d;
      std::vector<double> logit(static_cast<std::size_t>(t + 1), -INFINITY);
      double top = -INFINITY, q_norm = 0, k_norm = 0;
      for (std::int64_t i = 0; i < c.d; ++i) q_norm += static_cast<double>(q[i]) * static_cast<double>(q[i]);
      const std::int64_t begin = c.sliding > 0 ? std::max<std::int64_t>(0, t + 1 - c.sliding) : 0;
      for (std::int64_t j = begin; j <= t; ++j) {
        const float* k = in.k.data() + (j * c.kv_heads + kv) * c.d;
        double dot = 0, norm = 0;
        for (std::int64_t i = 0; i < c.d; ++i) {
          dot += static_cast<double>(q[i]) * static_cast<double>(k[i]);
          norm += static_cast<double>(k[i]) * static_cast<double>(k[i]);
        }
        k_norm = std::max(k_norm, norm);
        logit[static_cast<std::size_t>(j)] = dot / std::sqrt(static_cast<double>(c.d));
        top = std::max(top, logit[static_cast<std::size_t>(j)]);
      }
      double sum = 0;
      for (std::int64_t j = begin; j <= t; ++j) sum += std::exp(logit[static_cast<std::size_t>(j)] - top);
      // A logit is off by (d + 2) eps |q||k| / sqrt(d) for its sum, and by 2^-11 of it where K is f16; a
      // probability is off by twice the logit's error (numerator and sum), a value by 2^-11 in f16; then the
      // sum over the context.
      const double unit = f16 ? 0x1p-11 : testing_support::kEps;
      const double logit_error = (static_cast<double>(c.d + 2) * testing_support::kEps + unit) *
                                 std::sqrt(q_norm * k_norm / static_cast<double>(c.d));
      for (std::int64_t i = 0; i < c.d; ++i) {
        double expected = 0, size = 0;
        for (std::int64_t j = begin; j <= t; ++j) {
          const double term =
              std::exp(logit[static_cast<std::size_t>(j)] - top) / sum *
              static_cast<double>(in.v[static_cast<std::size_t>((j * c.kv_heads + kv) * c.d + i)]);
          expected += term;
          size += std::fabs(term);
        }
        compare.add(out[static_cast<std::size_t>((t * c.heads + h) * c.d + i)], expected,
                    size * (2 * logit_error + unit + static_cast<double>(t + 32) * testing_support::kEps));
      }
    }
}

TEST_P(Dense, SameBitsForAnyBatchAndThreads) {
  const Case& c = GetParam();
  const Inputs in = make_inputs(c);
  const auto expected = run_in_batches(c, in, c.n, 1);
  for (const std::int64_t batch : {std::int64_t{1}, std::int64_t{37}, std::int64_t{128}, c.n})
    for (const int threads : {1, 3}) {
      if (batch == 1 && threads == 1) continue;
      const auto out = run_in_batches(c, in, batch, threads);
      EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0)
          << "batch " << batch << ", threads " << threads;
    }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Dense,
                         testing::Values(Case{9, 3, 64, 300}, Case{4, 4, 80, 150}, Case{8, 1, 128, 140},
                                         Case{4, 2, 112, 300, 40}, Case{2, 1, 256, 260, 200, "f16"},
                                         Case{3, 1, 64, 1300, 0, "f16"}, Case{5, 5, 8, 131}));

TEST(Cache, ExactTruncatesAnywhere) {
  const Case c{4, 2, 16, 300, 0, "f16"};
  const Inputs in = make_inputs(c);
  ThreadPool pool(2);
  const std::int64_t kw = c.kv_heads * c.d, qw = c.heads * c.d;
  const auto read = [&](HostCache& cache, std::int64_t from, std::int64_t to) {
    std::vector<float> out(static_cast<std::size_t>((to - from) * qw));
    cache.attend(0, {c.heads, 0.25f, 0}, {in.q.data() + from * qw, to - from, qw},
                 {in.k.data() + from * kw, to - from, kw}, {in.v.data() + from * kw, to - from, kw},
                 {out.data(), to - from, qw});
    return out;
  };
  for (const std::int64_t keep : {0, 1, 127, 128, 129, 200, 256, 299}) {
    HostCache straight({1, c.kv_heads, c.d}, c.n, c.type, c.type, pool),
        turned({1, c.kv_heads, c.d}, c.n, c.type, c.type, pool);
    if (keep > 0) read(straight, 0, keep);
    read(turned, 0, 300);
    turned.cache.truncate(keep);
    EXPECT_EQ(turned.cache.n_tokens(), keep);
    EXPECT_EQ(read(straight, keep, 300), read(turned, keep, 300)) << keep;
  }
}

TEST(Cache, RefusesWhatItCannotHold) {
  ThreadPool pool(1);
  HostCache cache({2, 1, 8}, 16, "f16", "f16", pool);
  std::vector<float> rows(8, 1.0f);
  const auto message = [&](float value) {
    rows[3] = value;
    try {
      cache.append(1, {rows.data(), 1, 8}, {rows.data(), 1, 8});
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("none");
  };
  EXPECT_NE(message(std::numeric_limits<float>::quiet_NaN()).find("layer 1, KV head 0"), std::string::npos);
  EXPECT_NE(message(std::numeric_limits<float>::infinity()).find("not finite"), std::string::npos);
  EXPECT_NE(message(7e4f).find("beyond f16"), std::string::npos);
  EXPECT_THROW(cache.cache.truncate(1), Error);
  EXPECT_THROW(cache.cache.truncate(-1), Error);
}

TEST(Cache, ReportCountsWhatIsHeld) {
  ThreadPool pool(1);
  HostCache cache({3, 2, 64}, 512, "f16", "f32", pool);
  const std::vector<float> rows(static_cast<std::size_t>(256 * 128), 0.5f);
  for (std::int64_t l = 0; l < 3; ++l) cache.append(l, {rows.data(), 256, 128}, {rows.data(), 256, 128});
  const CacheReport report = cache.cache.report();
  EXPECT_EQ(report.k.sealed_entries, 3 * 256 * 128);
  EXPECT_EQ(report.k.paper_bits, 16);
  EXPECT_EQ(report.v.paper_bits, 32);
  EXPECT_NEAR(report.k.honest_bits, 16, 0.01);  // and the offsets
  EXPECT_EQ(report.k.exact_bytes, 3 * 128 * 128 * 2);
  EXPECT_EQ(report.v.exact_bytes, 3 * 128 * 128 * 4);
}

}  // namespace
}  // namespace spectralkv::attention_test
