// Products of codes in whole numbers change the divergence that a codec costs by less than 2 % of itself.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"

namespace spectralkv::arithmetic_loss_test {
namespace {

using testing_support::code;
using testing_support::Coded;
using testing_support::low_rank_and_noise;
using testing_support::normals;

constexpr std::int64_t kBlock = 128, kBlocks = 8, kQueries = 512;
constexpr std::int64_t kTokens = kBlocks * kBlock;
constexpr double kBound = 0.02;

std::vector<double> softmax(const std::vector<double>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> p(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) sum += p[i] = std::exp(logits[i] - top);
  for (double& x : p) x /= sum;
  return p;
}

double divergence(const std::vector<double>& p, const std::vector<double>& q) {
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i)
    if (p[i] > 0) sum += p[i] * (std::log(p[i]) - std::log(q[i]));
  return sum;
}

double dot(const float* a, const float* b, std::int64_t d) {
  double sum = 0;
  for (std::int64_t c = 0; c < d; ++c) sum += static_cast<double>(a[c]) * static_cast<double>(b[c]);
  return sum;
}

// kTokens rows, block by block: exact in codec space, stored, and as the stored blocks decode.
struct Context {
  std::vector<Coded> blocks;
  std::vector<float> exact, decoded;  // [kTokens, d]

  Context(const Codec& codec, std::uint64_t seed, CodecWork& work) {
    const std::int64_t d = codec.head_dim();
    exact.resize(static_cast<std::size_t>(kTokens * d));
    for (std::int64_t b = 0; b < kBlocks; ++b) {
      const auto rows = low_rank_and_noise(kBlock, d, seed + 1000 * static_cast<std::uint64_t>(b));
      codec.enter({rows.data(), kBlock, d}, {exact.data() + b * kBlock * d, kBlock, d});
      blocks.push_back(code(codec, {rows.data(), kBlock, d}, work));
      decoded.insert(decoded.end(), blocks.back().rows.begin(), blocks.back().rows.end());
    }
  }
};

// Each query means one token, among what all of them share: its logit stands out by about 8.
std::vector<float> queries_for(const Context& keys, std::int64_t d) {
  auto q = normals(77, static_cast<std::size_t>(kQueries * d));
  for (std::int64_t i = 0; i < kQueries; ++i) {
    const float* key = keys.exact.data() + (i * 31 % kTokens) * d;
    const float pull = static_cast<float>(8 / dot(key, key, d));
    for (std::int64_t c = 0; c < d; ++c) {
      float& x = q[static_cast<std::size_t>(i * d + c)];
      x = x / std::sqrt(static_cast<float>(d)) + pull * key[c];
    }
  }
  return q;
}

class ArithmeticLoss : public testing::TestWithParam<const char*> {};

TEST_P(ArithmeticLoss, OfScores) {
  for (const std::int64_t d : {std::int64_t{64}, std::int64_t{128}}) {
    const BuiltCodec built = build_codec(GetParam(), d, KvSide::keys);
    CodecWork work;
    const Context keys(*built.codec, 5, work);
    const auto q = queries_for(keys, d);
    std::vector<float> scores(static_cast<std::size_t>(kQueries * kTokens));
    for (std::int64_t b = 0; b < kBlocks; ++b)
      built.codec->score(keys.blocks[static_cast<std::size_t>(b)].bytes.data(), kBlock,
                         ConstMatrix(q.data(), kQueries, d),
                         {scores.data() + b * kBlock, kQueries, kBlock, kTokens}, work);

    double of_codec = 0, with_arithmetic = 0;
    for (std::int64_t i = 0; i < kQueries; ++i) {
      std::vector<double> exact, decoded;
      for (std::int64_t t = 0; t < kTokens; ++t) {
        exact.push_back(dot(q.data() + i * d, keys.exact.data() + t * d, d));
        decoded.push_back(dot(q.data() + i * d, keys.decoded.data() + t * d, d));
      }
      const float* const row = scores.data() + i * kTokens;
      const auto p = softmax(exact);
      of_codec += divergence(p, softmax(decoded));
      with_arithmetic += divergence(p, softmax(std::vector<double>(row, row + kTokens)));
    }
    EXPECT_GT(of_codec, 0);
    EXPECT_NEAR(with_arithmetic / of_codec, 1, kBound) << GetParam() << " d=" << d;
  }
}

TEST_P(ArithmeticLoss, OfMixes) {
  for (const std::int64_t d : {std::int64_t{64}, std::int64_t{128}}) {
    const BuiltCodec built = build_codec(GetParam(), d, KvSide::values);
    CodecWork work;
    const Context values(*built.codec, 6, work);
    // Probabilities, before they are divided by their sum, of normal logits with deviation 2, the largest 1
    // as attention has them.
    auto p = normals(78, static_cast<std::size_t>(kQueries * kTokens));
    for (std::int64_t i = 0; i < kQueries; ++i) {
      float* const row = p.data() + i * kTokens;
      const float top = *std::max_element(row, row + kTokens);
      for (std::int64_t t = 0; t < kTokens; ++t) row[t] = std::exp(2 * (row[t] - top));
    }
    std::vector<float> mixed(static_cast<std::size_t>(kQueries * d));
    for (std::int64_t b = 0; b < kBlocks; ++b)
      built.codec->mix(values.blocks[static_cast<std::size_t>(b)].bytes.data(), kBlock,
                       {p.data() + b * kBlock, kQueries, kBlock, kTokens}, {mixed.data(), kQueries, d}, work);

    double of_codec = 0, with_arithmetic = 0;
    for (std::int64_t i = 0; i < kQueries; ++i)
      for (std::int64_t c = 0; c < d; ++c) {
        double exact = 0, decoded = 0;
        for (std::int64_t t = 0; t < kTokens; ++t) {
          const auto probability = static_cast<double>(p[static_cast<std::size_t>(i * kTokens + t)]);
          const auto at = static_cast<std::size_t>(t * d + c);
          exact += probability * static_cast<double>(values.exact[at]);
          decoded += probability * static_cast<double>(values.decoded[at]);
        }
        const auto got = static_cast<double>(mixed[static_cast<std::size_t>(i * d + c)]);
        of_codec += (decoded - exact) * (decoded - exact);
        with_arithmetic += (got - exact) * (got - exact);
      }
    EXPECT_GT(of_codec, 0);
    EXPECT_NEAR(with_arithmetic / of_codec, 1, kBound) << GetParam() << " d=" << d;
  }
}

INSTANTIATE_TEST_SUITE_P(Codecs, ArithmeticLoss,
                         testing::Values("turboquant:2", "turboquant:3", "turboquant:4", "eoptshrinkq:2",
                                         "eoptshrinkq:3", "eoptshrinkq:4", "eoptshrinkq:2,quantiser=scalar"),
                         [](const auto& of) { return testing_support::test_name(of.param); });

}  // namespace
}  // namespace spectralkv::arithmetic_loss_test
