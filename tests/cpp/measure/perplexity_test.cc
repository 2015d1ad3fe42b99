// Perplexity and divergence: independent of batches, nothing between equal caches, errors that say what is
// wrong.
#include "measure/perplexity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "measure/perplexity_stats.h"
#include "support/tiny_model.h"

namespace spectralkv::perplexity_test {
namespace {

const test::TinyModel kTiny;

class Perplexity : public testing::Test {
 protected:
  PerplexityResult measure(const PerplexityOptions& options, std::size_t n = 200) {
    return measure_perplexity(engine_, kTiny.text(n), options, {});
  }
  static PerplexityOptions options(const std::string& k, const std::string& v) {
    PerplexityOptions o;
    o.types = {k, v};
    o.base = CacheTypes{"f32", "f32"};
    o.n_threads = 2;
    return o;
  }

  test::TempFolder folder_;
  Engine engine_{folder_.write("tiny.gguf", kTiny.bytes()), EngineOptions{.n_threads = 2}};
};

TEST_F(Perplexity, OfEqualCachesIsEqual) {
  for (const Protocol protocol : {Protocol::decode, Protocol::prefix}) {
    auto o = options("f32", "f32");
    o.protocol = protocol;
    o.prefix = 130;
    const auto r = measure(o);
    EXPECT_EQ(r.n_predicted, 69);
    EXPECT_EQ(r.n_compared, 70);
    EXPECT_EQ(r.comparison->kl_max, 0);
    EXPECT_EQ(r.comparison->same_top.value, 1);
    EXPECT_EQ(r.ppl.value, r.comparison->ppl_base.value);
    EXPECT_GT(r.ppl.value, 1);
  }
}

// A file of logits is as good as the cache that they come from, for any batches; one that does not fit is
// refused before any work.
TEST_F(Perplexity, AFileOfLogitsIsABase) {
  auto side_by_side = options("q4_0,block=16", "q4_0,block=16");
  side_by_side.n_ctx = 99;
  side_by_side.chunk_start = 1;
  const auto expected = measure(side_by_side);
  auto writing = options("f32", "f32");
  writing.base.reset();
  writing.n_ctx = 99;
  writing.chunk_start = 1;
  writing.save_logits = folder_.write("logits", "");
  EXPECT_FALSE(measure(writing).comparison);
  auto reading = side_by_side;
  reading.base.reset();
  reading.base_logits = writing.save_logits;
  reading.n_batch = 7;
  const auto got = measure(reading);
  EXPECT_EQ(got.n_compared, 2 * 50);
  EXPECT_GT(got.comparison->kl.value, 0);
  EXPECT_EQ(got.comparison->kl.value, expected.comparison->kl.value);
  EXPECT_EQ(got.comparison->ppl_base.value, expected.comparison->ppl_base.value);

  const auto refusal = [&](auto&& change) {
    auto o = reading;
    change(o);
    try {
      measure(o);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string("none");
  };
  const auto says = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  says(refusal([](auto& o) { o.n_ctx = 100; }), "it has 99 tokens of a chunk (-c), this run has 100");
  says(refusal([](auto& o) { o.n_chunks = 1; }), "it has 2 chunks (--chunks), this run has 1");
  says(refusal([](auto& o) { o.prefix = 60; }), "it has 49 tokens that are not scored (--prefix)");
  says(refusal([](auto& o) { o.chunk_start = 2; }), "made of another text");
  says(refusal([](auto& o) { o.base = CacheTypes{}; }), "one base");
  says(refusal([&](auto& o) { o.base_logits = folder_.write("text", "no logits at all"); }),
       "no file of logits");
  says(refusal([&](auto& o) { o.base_logits += "-absent"; }), "absent");
}

// The sum over a session's logits, one token at a time.
TEST_F(Perplexity, AgreesWithLogits) {
  const auto text = kTiny.text(40);
  Session session(engine_, SessionOptions{.n_ctx = 40, .type_k = "f32", .type_v = "f32", .logits_all = true});
  session.eval(text);
  double sum = 0;
  for (std::int64_t t = 20; t < 39; ++t) {
    const float* row = session.all_logits().row(t);
    double total = 0;
    for (std::uint32_t i = 0; i < kTiny.n_vocab; ++i) total += std::exp(static_cast<double>(row[i]));
    sum += std::log(total) - static_cast<double>(row[text[static_cast<std::size_t>(t) + 1]]);
  }
  EXPECT_NEAR(measure(options("f32", "f32"), 40).ppl.value, std::exp(sum / 19), 1e-6);
}

TEST_F(Perplexity, DoesNotDependOnBatches) {
  for (const Protocol protocol : {Protocol::decode, Protocol::prefix}) {
    std::vector<double> kl;
    for (const std::int64_t batch : {1, 7, 64}) {
      auto o = options("eoptshrinkq:2,block=16,sink=4", "turboquant:2,block=16,sink=4");
      o.protocol = protocol;
      o.prefix = 100;
      o.n_batch = batch;
      kl.push_back(measure(o).comparison->kl.value);
    }
    EXPECT_GT(kl[0], 0);
    EXPECT_EQ(kl[0], kl[1]);
    EXPECT_EQ(kl[0], kl[2]);
  }
}

TEST_F(Perplexity, RefusesWhatItCannotMeasure) {
  const auto refused = [&](auto&& change, std::size_t n = 200) {
    auto o = options("f16", "f16");
    change(o);
    try {
      measure(o, n);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  const auto has = [](const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(has(refused([](auto& o) { o.n_ctx = 300; }), "fewer than one chunk of 300"));
  EXPECT_TRUE(has(refused([](auto& o) { o.prefix = 199; }), "leaves nothing to predict"));
  EXPECT_TRUE(has(refused([](auto& o) { o.protocol = Protocol::prefix; }), "at least 1"));
  EXPECT_TRUE(has(refused([](auto&) {}, 600), "longer than the model's context of 512"));
  EXPECT_TRUE(has(refused([](auto&) {}, 1), "at least 2"));
  // More chunks than there are: all of them, as llama-perplexity does.
  auto o = options("f16", "f16");
  o.n_ctx = 50, o.n_chunks = 5;
  EXPECT_EQ(measure(o, 200).n_tokens, 200);
}

TEST(PerplexityStats, QuantilesAndErrors) {
  const std::vector<double> values{1, 2, 3, 4};
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
  EXPECT_DOUBLE_EQ(mean_of(values).value, 2.5);
  EXPECT_NEAR(mean_of(values).error, 0.645497, 1e-6);
}

}  // namespace
}  // namespace spectralkv::perplexity_test
