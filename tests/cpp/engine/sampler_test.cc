// Every filter against a twin that sorts everything, distributions by chi-square, and what is refused.
#include "engine/sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "engine/best_k.h"

namespace spectralkv::sampler_test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

SamplingOptions plain() {
  SamplingOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  return o;
}

std::vector<float> random_logits(std::size_t n, std::uint64_t seed, double spread) {
  std::vector<float> logits(n);
  for (std::size_t i = 0; i < n; ++i) logits[i] = static_cast<float>(spread * random_normal(seed, i));
  return logits;
}

// Probability of each token by the definition: sort all, keep fronts, scale by the temperature.
std::vector<double> naive_distribution(const SamplingOptions& o, const std::vector<float>& logits) {
  std::vector<std::size_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
  if (o.top_k > 0) order.resize(std::min(order.size(), static_cast<std::size_t>(o.top_k)));
  const auto probabilities = [&](double temperature) {
    std::vector<double> p;
    for (const auto i : order)
      p.push_back(
          std::exp((static_cast<double>(logits[i]) - static_cast<double>(logits[order[0]])) / temperature));
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (auto& x : p) x /= sum;
    return p;
  };
  if (o.top_p < 1) {
    const auto p = probabilities(1);
    double cumulative = 0;
    std::size_t keep = 0;
    while (keep < p.size() && (keep == 0 || cumulative < o.top_p)) cumulative += p[keep++];
    order.resize(keep);
  }
  if (o.min_p > 0) {
    const auto p = probabilities(1);
    std::size_t keep = 1;
    while (keep < p.size() && p[keep] >= o.min_p * p[0]) ++keep;
    order.resize(keep);
  }
  const auto p = probabilities(o.temperature);
  std::vector<double> result(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) result[order[i]] = p[i];
  return result;
}

// Chi-square of `draws` samples, cells with under 5 expected draws together; impossible tokens fail at once.
void expect_distribution(SamplingOptions o, const std::vector<float>& logits, int draws,
                         const std::string& what) {
  const std::vector<double> p = naive_distribution(o, logits);
  std::vector<int> count(logits.size());
  Sampler sampler(o, static_cast<int>(logits.size()));
  for (int i = 0; i < draws; ++i) ++count[static_cast<std::size_t>(sampler.sample(logits, {}))];
  double chi2 = 0, rare_expected = 0, rare_count = 0;
  int cells = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (p[i] == 0) {
      EXPECT_EQ(count[i], 0) << what << ": token " << i << " was filtered out";
      continue;
    }
    const double expected = p[i] * draws;
    if (expected < 5) {
      rare_expected += expected;
      rare_count += count[i];
      continue;
    }
    chi2 += (count[i] - expected) * (count[i] - expected) / expected;
    ++cells;
  }
  if (rare_expected > 1) {
    chi2 += (rare_count - rare_expected) * (rare_count - rare_expected) / rare_expected;
    ++cells;
  }
  // Mean and standard deviation of chi-square are k and sqrt(2 k); five deviations are beyond luck.
  const double k = std::max(1, cells - 1);
  EXPECT_LT(chi2, k + 5 * std::sqrt(2 * k)) << what << ", " << cells << " cells";
}

TEST(Sampler, DistributionsFollowTheDefinition) {
  const auto logits = random_logits(60, 7, 2.0);
  for (const double temperature : {0.5, 1.0, 1.7})
    for (const int top_k : {0, 2, 10, 59, 60, 1000})
      for (const double top_p : {0.0, 0.3, 0.9, 1.0})
        for (const double min_p : {0.0, 0.1, 1.0}) {
          SamplingOptions o;
          o.temperature = temperature;
          o.top_k = top_k;
          o.top_p = top_p;
          o.min_p = min_p;
          o.seed = 42;
          expect_distribution(
              o, logits, 4000,
              concat("temp ", temperature, " top_k ", top_k, " top_p ", top_p, " min_p ", min_p));
        }
}

// The same uniform number must pick the same token as a walk over the twin's sorted probabilities.
TEST(Sampler, LargeVocabularyAgreesWithSorting) {
  for (const double spread : {0.5, 3.0})
    for (const int top_k : {0, 40, 1024, 1025, 3000}) {
      for (const double top_p : {0.5, 0.95, 0.9999}) {
        for (const double min_p : {0.0, 0.02}) {
          const auto logits = random_logits(5000, 11, spread);
          SamplingOptions o;
          o.top_k = top_k;
          o.top_p = top_p;
          o.min_p = min_p;
          o.seed = 5;
          const auto p = naive_distribution(o, logits);
          std::vector<std::size_t> order(p.size());
          std::iota(order.begin(), order.end(), 0);
          std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
          Sampler sampler(o, 5000);
          for (std::uint64_t draw = 0; draw < 20; ++draw) {
            const double u = random_uniform(5, draw);
            double cumulative = 0;
            std::size_t expected = order[0];
            for (const auto i : order) {
              if (p[i] == 0) break;
              expected = i;
              cumulative += p[i];
              if (u < cumulative) break;
            }
            ASSERT_EQ(sampler.sample(logits, {}), static_cast<Token>(expected))
                << spread << " " << top_k << " " << top_p << " " << min_p << " draw " << draw;
          }
        }
      }
    }
}

TEST(Sampler, GreedyTakesTheFirstOfEquals) {
  SamplingOptions o;
  o.temperature = 0;
  Sampler greedy(o, 5);
  EXPECT_EQ(greedy.sample(std::vector<float>{0, 3, 1, 3, 2}, {}), 1);
  o.temperature = 1;
  o.top_k = 1;
  Sampler one(o, 5);
  EXPECT_EQ(one.sample(std::vector<float>{0, 3, 1, 3, 2}, {}), 1);
}

TEST(Sampler, SeedsRepeatAndDiffer) {
  const auto logits = random_logits(100, 3, 1.0);
  const auto draw = [&](std::uint64_t seed) {
    SamplingOptions o = plain();
    o.seed = seed;
    Sampler sampler(o, 100);
    std::vector<Token> tokens(50);
    for (auto& token : tokens) token = sampler.sample(logits, {});
    return tokens;
  };
  EXPECT_EQ(draw(1), draw(1));
  EXPECT_NE(draw(1), draw(2));
}

TEST(Sampler, LogitBias) {
  SamplingOptions o;
  o.temperature = 0;
  const std::vector<float> logits{1, 2, 3, 4};
  o.logit_bias = {{3, -kInfinity}};
  EXPECT_EQ(Sampler(o, 4).sample(logits, {}), 2);
  o.logit_bias = {{3, -100.0f}, {0, 1.5f}, {0, 1.5f}};
  EXPECT_EQ(Sampler(o, 4).sample(logits, {}), 0);  // 1 + 1.5 + 1.5 beats 3
  o.logit_bias = {{0, -kInfinity}, {1, -kInfinity}, {2, -kInfinity}, {3, -kInfinity}};
  EXPECT_THROW(Sampler(o, 4).sample(logits, {}), Error);
  // A banned token is never drawn, whatever the filters.
  for (const int top_k : {0, 3}) {
    SamplingOptions warm = plain();
    warm.top_k = top_k;
    warm.temperature = 50;
    warm.logit_bias = {{3, -kInfinity}};
    Sampler sampler(warm, 4);
    for (int i = 0; i < 500; ++i) EXPECT_NE(sampler.sample(logits, {}), 3);
  }
}

TEST(Sampler, RepeatPenalty) {
  SamplingOptions o;
  o.temperature = 0;
  o.repeat_penalty = 2;
  const std::vector<float> logits{3, 4, -1, -1.5f};
  // Each token counts once, however often it came.
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 1, 1}), 0);
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 0}), 1);
  // Negative logits go down as well.
  EXPECT_EQ(Sampler(o, 2).sample(std::vector<float>{-1, -1.5f}, std::vector<Token>{0}), 1);
  // Only the last tokens count; -1 takes all; 0 none.
  o.repeat_last_n = 1;
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 2}), 1);
  o.repeat_last_n = -1;
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 2}), 0);
  o.repeat_last_n = 0;
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1}), 1);
}

TEST(Sampler, PenaltiesOfFrequencyAndPresence) {
  SamplingOptions o;
  o.temperature = 0;
  o.frequency_penalty = 0.5;
  const std::vector<float> logits{3, 4, 3.6f, -1};
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1}), 2);     // 4 - 0.5 < 3.6
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 2}), 1);  // 3.5 > 3.1
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 2, 1, 2, 1}), 0);
  o.frequency_penalty = 0;
  o.presence_penalty = 0.5;  // once, however often it came
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 2, 1, 2, 1}), 1);
  EXPECT_EQ(Sampler(o, 4).sample(logits, std::vector<Token>{1, 1}), 2);
  EXPECT_EQ(Sampler(o, 4).candidates_needed(), 0);
  o.presence_penalty = kInfinity;
  EXPECT_THROW(Sampler(o, 4), Error);
}

TEST(Sampler, AMaskLeavesOnlyWhatIsAllowed) {
  const std::vector<float> logits = random_logits(70, 5, 3);  // three words, the last one cut
  std::vector<std::uint32_t> allowed(3, 0);
  const std::vector<Token> kept{3, 31, 32, 64, 69};
  for (const Token t : kept) allowed[static_cast<std::size_t>(t) / 32] |= 1u << (t % 32);
  // The same draws as from a bias that bans the others.
  for (const int top_k : {0, 1, 3, 40})
    for (const double top_p : {0.5, 1.0})
      for (const double temperature : {0.0, 2.0}) {
        SamplingOptions o = plain();
        o.top_k = top_k;
        o.top_p = top_p;
        o.temperature = temperature;
        o.repeat_penalty = 1.5;
        Sampler masked(o, 70);
        for (Token t = 0; t < 70; ++t)
          if (std::find(kept.begin(), kept.end(), t) == kept.end()) o.logit_bias.emplace_back(t, -kInfinity);
        Sampler biased(o, 70);
        for (int i = 0; i < 100; ++i) {
          const Token token = masked.sample(logits, kept, allowed);
          ASSERT_EQ(token, biased.sample(logits, kept));
          ASSERT_NE(std::find(kept.begin(), kept.end(), token), kept.end());
        }
      }
  Sampler sampler(plain(), 70);
  EXPECT_THROW(sampler.sample(logits, {}, std::vector<std::uint32_t>(3, 0)), Error);
  EXPECT_THROW(sampler.sample(logits, {}, std::vector<std::uint32_t>(2, 1)), Error);
}

TEST(Sampler, RefusesWhatIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity})
    for (const double temperature : {0.0, 1.0}) {
      SamplingOptions o = plain();
      o.temperature = temperature;
      std::vector<float> logits(100, 0.5f);
      logits[77] = bad;
      Sampler sampler(o, 100);
      EXPECT_THROW(sampler.sample(logits, {}), Error);
    }
  Sampler sampler(plain(), 4);
  EXPECT_THROW(sampler.sample(std::vector<float>(3), {}), Error);
}

TEST(Sampler, RefusesOptionsByName) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto expect = [](const std::string& name, const std::function<void(SamplingOptions&)>& change) {
    SamplingOptions o;
    change(o);
    try {
      Sampler sampler(o, 10);
      ADD_FAILURE() << name << " was accepted";
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
    }
  };
  expect("temperature", [&](auto& o) { o.temperature = nan; });
  expect("top_p", [&](auto& o) { o.top_p = nan; });
  expect("top_p", [&](auto& o) { o.top_p = -0.1; });
  expect("min_p", [&](auto& o) { o.min_p = 1.1; });
  expect("min_p", [&](auto& o) { o.min_p = nan; });
  expect("repeat_penalty", [&](auto& o) { o.repeat_penalty = 0; });
  expect("repeat_penalty", [&](auto& o) { o.repeat_penalty = nan; });
  expect("repeat_last_n", [&](auto& o) { o.repeat_last_n = -2; });
  expect("logit_bias", [&](auto& o) { o.logit_bias = {{10, 1.0f}}; });
  expect("logit_bias", [&](auto& o) { o.logit_bias = {{-1, 1.0f}}; });
  expect("logit_bias", [&](auto& o) { o.logit_bias = {{1, kInfinity}}; });
  expect("logit_bias", [&](auto& o) { o.logit_bias = {{1, static_cast<float>(nan)}}; });
}

TEST(BestK, AgreesWithSorting) {
  auto logits = random_logits(3000, 1, 1.0);
  for (std::size_t i = 0; i < logits.size(); i += 3) logits[i] = 1.0f;  // many equals
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < logits.size(); ++i) all.emplace_back(logits[i], static_cast<Token>(i));
  std::sort(all.begin(), all.end(), better_candidate);
  for (const std::size_t k : {0u, 1u, 2u, 7u, 1000u, 1024u, 1025u, 2999u, 3000u, 5000u}) {
    std::vector<Candidate> best;
    best_k(logits, k, best);
    const auto n = static_cast<std::ptrdiff_t>(std::min<std::size_t>(k, all.size()));
    EXPECT_EQ(best, std::vector<Candidate>(all.begin(), all.begin() + n)) << k;
  }
}

TEST(Logprobs, AreNormalisedAndRanked) {
  const std::vector<float> logits{1, 3, 2, 3};
  double sum = 0;
  for (Token i = 0; i < 4; ++i) sum += std::exp(static_cast<double>(token_logprob(logits, i)));
  EXPECT_NEAR(sum, 1, 1e-6);
  const auto top = top_logprobs(logits, 3);
  ASSERT_EQ(top.size(), 3u);
  EXPECT_EQ(top[0].first, 1);
  EXPECT_EQ(top[1].first, 3);
  EXPECT_EQ(top[2].first, 2);
  EXPECT_EQ(top[2].second, token_logprob(logits, 2));
  EXPECT_EQ(top_logprobs(logits, 9).size(), 4u);
  EXPECT_TRUE(top_logprobs(logits, 0).empty());
  // Large logits do not overflow.
  EXPECT_NEAR(token_logprob(std::vector<float>{10000, 10000}, 0), -std::log(2.0), 1e-6);
  EXPECT_THROW(token_logprob(logits, 4), Error);
  EXPECT_THROW(token_logprob(logits, -1), Error);
  EXPECT_THROW(token_logprob(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()}, 0), Error);
  EXPECT_THROW(top_logprobs({}, 1), Error);
}

}  // namespace
}  // namespace spectralkv::sampler_test
