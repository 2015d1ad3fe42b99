// Attention over compressed caches against what VOCABULARY.md says that a query reads, computed in double
// from decoded blocks; and its independence of batches and threads, for every head dim and odd groups of
// heads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/half.h"
#include "cpp/kv/codec_cases.h"
#include "kv/attention.h"
#include "support/host_cache.h"

namespace spectralkv::compressed_attention_test {
namespace {

using testing_support::Comparison;
using testing_support::HostCache;
using testing_support::kEps;
using testing_support::normals;

struct Case {
  std::int64_t heads, kv_heads, d, n;
  std::string k, v;
  std::int64_t sliding = 0;
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << c.heads << "/" << c.kv_heads << " heads of " << c.d << ", K " << c.k << ", V " << c.v;
}

struct Inputs {
  std::vector<float> q, k, v;
};

// Keys that share a direction, so that blocks have a low-rank part; queries long enough that a few tokens
// take most of the probability and an error in one of them shows.
Inputs make_inputs(const Case& c) {
  Inputs in{normals(1, static_cast<std::size_t>(c.n * c.heads * c.d), 2.0),
            normals(2, static_cast<std::size_t>(c.n * c.kv_heads * c.d)),
            normals(3, static_cast<std::size_t>(c.n * c.kv_heads * c.d))};
  const auto direction = normals(4, static_cast<std::size_t>(c.kv_heads * c.d), 2.0);
  for (std::size_t i = 0; i < in.k.size(); ++i) {
    in.k[i] += direction[i % direction.size()];
    in.v[i] += direction[i % direction.size()];
  }
  return in;
}

std::vector<float> run_in_batches(const Case& c, const Inputs& in, std::int64_t batch, int threads) {
  ThreadPool pool(threads);
  HostCache cache({1, c.kv_heads, c.d}, c.n, c.k, c.v, pool);
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

// Rows of one KV head, [n, d]: as f16 holds them, and as its blocks come back.
struct Rows {
  std::vector<float> exact, sealed;
};

Rows rows_of(const Case& c, const std::vector<float>& all, const BuiltCodec& built, const CacheLayout& layout,
             std::int64_t head) {
  Rows rows;
  for (std::int64_t t = 0; t < c.n; ++t)
    for (std::int64_t i = 0; i < c.d; ++i)
      rows.exact.push_back(
          skv_f16_to_f32(skv_f32_to_f16(all[static_cast<std::size_t>((t * c.kv_heads + head) * c.d + i)])));
  rows.sealed = rows.exact;
  CodecWork work;
  for (std::int64_t b = 0; (b + 1) * layout.block <= c.n; ++b) {
    const std::int64_t from = b == 0 ? layout.sink : b * layout.block, n = (b + 1) * layout.block - from;
    std::vector<std::byte> bytes(static_cast<std::size_t>(built.codec->max_bytes(n)));
    std::vector<float> turned(static_cast<std::size_t>(n * c.d));
    built.codec->encode({rows.exact.data() + from * c.d, n, c.d}, {}, bytes.data(), work);
    built.codec->decode(bytes.data(), n, {turned.data(), n, c.d});
    built.codec->leave({turned.data(), n, c.d}, {rows.sealed.data() + from * c.d, n, c.d});
  }
  return rows;
}

double longest(const std::vector<float>& rows, std::int64_t d) {
  double top = 0;
  for (std::size_t at = 0; at < rows.size(); at += static_cast<std::size_t>(d)) {
    double sum = 0;
    for (std::size_t i = at; i < at + static_cast<std::size_t>(d); ++i)
      sum += static_cast<double>(rows[i]) * static_cast<double>(rows[i]);
    top = std::max(top, sum);
  }
  return std::sqrt(top);
}

// What products in whole numbers lose (kv/codecs/scalar_residual.h), as a share of the longest row and of
// what it meets: half a unit of a level, and half a step of each of `n` factors.
double byte_loss(const BuiltCodec& built, std::int64_t d, double n, double steps) {
  const auto levels = testing_support::levels_in_bytes(built.text, d);
  if (!levels) return 0;
  return 2 * (levels->rounding * std::sqrt(n) + n / steps / 2 * levels->top);
}

class Compressed : public testing::TestWithParam<Case> {};

TEST_P(Compressed, QueriesReadWhatTheVocabularySays) {
  const Case& c = GetParam();
  const Inputs in = make_inputs(c);
  const auto out = run_in_batches(c, in, 45, 2);
  const BuiltCodec codec_k = build_codec(c.k, c.d, KvSide::keys),
                   codec_v = build_codec(c.v, c.d, KvSide::values);
  const CacheLayout layout = codec_k.layout;
  ASSERT_EQ(layout, codec_v.layout);
  Comparison compare(concat("attention, K ", c.k, ", V ", c.v, ", d ", c.d));
  double apart = 0;  // how far the compressed rows stand from the exact ones, at most
  for (std::int64_t kv = 0; kv < c.kv_heads; ++kv) {
    const Rows k = rows_of(c, in.k, codec_k, layout, kv), v = rows_of(c, in.v, codec_v, layout, kv);
    for (std::size_t i = 0; i < v.exact.size(); ++i)
      apart = std::max(apart, static_cast<double>(std::fabs(v.exact[i] - v.sealed[i])));
    const double k_norm = std::max(longest(k.exact, c.d), longest(k.sealed, c.d)),
                 v_norm = std::max(longest(v.exact, c.d), longest(v.sealed, c.d));
    for (std::int64_t t = 0; t < c.n; t += 7) {
      // Sinks, and blocks whose last token is followed by `window` tokens up to and without t.
      const auto sealed = [&](std::int64_t j) {
        return j >= layout.sink && (j / layout.block + 1) * layout.block + layout.window <= t;
      };
      const std::int64_t begin = c.sliding > 0 ? std::max<std::int64_t>(0, t + 1 - c.sliding) : 0;
      const std::int64_t group = c.heads / c.kv_heads;
      for (std::int64_t h = kv * group; h < (kv + 1) * group; ++h) {
        const float* q = in.q.data() + (t * c.heads + h) * c.d;
        const double q_norm = longest({q, q + c.d}, c.d), scale = 1 / std::sqrt(static_cast<double>(c.d));
        std::vector<double> probability(static_cast<std::size_t>(t + 1), 0.0);
        double top = -INFINITY, sum = 0;
        for (std::int64_t j = begin; j <= t; ++j) {
          const float* row = (sealed(j) ? k.sealed : k.exact).data() + j * c.d;
          double dot = 0;
          for (std::int64_t i = 0; i < c.d; ++i)
            dot += static_cast<double>(q[i]) * static_cast<double>(row[i]);
          probability[static_cast<std::size_t>(j)] = scale * dot;
          top = std::max(top, scale * dot);
        }
        for (std::int64_t j = begin; j <= t; ++j)
          sum += probability[static_cast<std::size_t>(j)] =
              std::exp(probability[static_cast<std::size_t>(j)] - top);
        const double logit_error = scale * q_norm * k_norm *
                                   (4 * static_cast<double>(c.d + 2) * kEps +
                                    byte_loss(codec_k, c.d, static_cast<double>(c.d), 127) / 2);
        const double tolerance = v_norm * (2 * logit_error + static_cast<double>(4 * (c.d + t + 32)) * kEps +
                                           byte_loss(codec_v, c.d, static_cast<double>(layout.block), 255) /
                                               std::sqrt(static_cast<double>(layout.block)));
        for (std::int64_t i = 0; i < c.d; ++i) {
          double expected = 0;
          for (std::int64_t j = begin; j <= t; ++j)
            expected +=
                probability[static_cast<std::size_t>(j)] / sum *
                static_cast<double>((sealed(j) ? v.sealed : v.exact)[static_cast<std::size_t>(j * c.d + i)]);
          compare.add(static_cast<double>(out[static_cast<std::size_t>((t * c.heads + h) * c.d + i)]),
                      expected, tolerance);
        }
      }
    }
  }
  EXPECT_GT(apart, 0.002);
}

TEST_P(Compressed, SameBitsForAnyBatchAndThreads) {
  const Case& c = GetParam();
  const Inputs in = make_inputs(c);
  const auto expected = run_in_batches(c, in, c.n, 1);
  for (const std::int64_t batch : {std::int64_t{1}, std::int64_t{37}, std::int64_t{64}, c.n})
    for (const int threads : {1, 3}) {
      const auto out = run_in_batches(c, in, batch, threads);
      EXPECT_EQ(std::memcmp(out.data(), expected.data(), out.size() * sizeof(float)), 0)
          << "batch " << batch << ", threads " << threads;
    }
}

std::vector<Case> all_cases() {
  std::vector<std::pair<std::string, std::string>> types = {
      {"eoptshrinkq:2,", "eoptshrinkq:2,"},
      {"eoptshrinkq:2,paper,", "eoptshrinkq:5,loop=open,"},
      {"turboquant:3,", "eoptshrinkq:3,loss=nuclear,"},
      {"turboquant:1,", "turboquant:8,"},
      {"eoptshrinkq:2,quantiser=scalar,", "eoptshrinkq:2,quantiser=scalar,"}};
  // Every codec, for keys and for values.
  const auto every = testing_support::every_lossy_codec("");
  for (std::size_t i = 0; i < every.size(); ++i) types.emplace_back(every[i], every[(i + 1) % every.size()]);
  const char* const layouts[] = {"block=64,sink=4,window=32", "block=50,sink=1,window=0",
                                 "block=64,sink=0,window=100"};
  struct Heads {
    std::int64_t heads, kv_heads, d;
  };
  std::vector<Case> cases;
  std::size_t i = 0;
  for (const Heads& h : {Heads{9, 3, 64}, Heads{5, 5, 80}, Heads{7, 1, 96}, Heads{6, 2, 112},
                         Heads{3, 1, 128}, Heads{11, 1, 256}})
    for (const auto& [k, v] : types) {
      const std::string layout = layouts[i % 3];
      cases.push_back({h.heads, h.kv_heads, h.d, 230, k + layout, v + layout, i % 4 == 3 ? 90 : 0});
      ++i;
    }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Shapes, Compressed, testing::ValuesIn(all_cases()));

}  // namespace
}  // namespace spectralkv::compressed_attention_test
