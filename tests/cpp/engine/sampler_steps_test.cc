// The steps one by one against their definitions, written plainly, and the quick ways against the steps.
#include "engine/sampler_steps.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "engine/sampler.h"

namespace spectralkv {
namespace {

SamplingOptions off() {
  SamplingOptions o;
  o.temperature = 1;
  o.top_k = 0;
  o.top_p = 1;
  o.min_p = 0;
  o.dry_sequence_breakers.clear();
  return o;
}

std::vector<float> random_logits(std::size_t n, std::uint64_t seed, double spread) {
  std::vector<float> logits(n);
  for (std::size_t i = 0; i < n; ++i) logits[i] = static_cast<float>(spread * random_normal(seed, i));
  return logits;
}

using Distribution = std::map<Token, double>;

Distribution softmax(const std::map<Token, double>& logits) {
  double sum = 0;
  Distribution p;
  for (const auto& [token, logit] : logits) sum += p[token] = std::exp(logit);
  for (auto& [token, value] : p) value /= sum;
  return p;
}

Distribution softmax(const std::vector<float>& logits) {
  std::map<Token, double> all;
  for (std::size_t i = 0; i < logits.size(); ++i) all[static_cast<Token>(i)] = static_cast<double>(logits[i]);
  return softmax(all);
}

// What the sampler draws from, without what has no probability.
Distribution drawn_from(const SamplingOptions& o, const std::vector<float>& logits,
                        const std::vector<Token>& history = {}) {
  Distribution p;
  double before = 2;
  for (const auto& [token, value] :
       Sampler(o, static_cast<int>(logits.size())).distribution(logits, history)) {
    EXPECT_LE(value, before);
    before = value;
    if (value > 0) p[token] = value;
  }
  return p;
}

Distribution normalised(Distribution p) {
  double sum = 0;
  for (const auto& [token, value] : p) sum += value;
  for (auto& [token, value] : p) value /= sum;
  return p;
}

void expect_near(const Distribution& got, const Distribution& want, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  for (const auto& [token, p] : want) {
    ASSERT_TRUE(got.contains(token)) << what << ", token " << token;
    EXPECT_NEAR(got.at(token), p, 1e-6) << what << ", token " << token;
  }
}

TEST(SamplerSteps, QuickWaysDrawWhatTheStepsLeave) {
  const std::vector<Token> history{3, 7, 7, 1};
  for (const double temperature : {0.0, 0.7, 1.5})
    for (const int top_k : {0, 1, 5, 400})
      for (const double top_p : {0.4, 1.0})
        for (const double min_p : {0.0, 0.1}) {
          SamplingOptions quick = off();
          quick.temperature = temperature;
          quick.top_k = top_k;
          quick.top_p = top_p;
          quick.min_p = min_p;
          quick.repeat_penalty = 1.4;
          quick.seed = 3;
          SamplingOptions stepwise = quick;
          stepwise.samplers.push_back(SamplerStep::top_k);  // again, which changes nothing but the way
          ASSERT_TRUE(is_plain_sampling(quick));
          ASSERT_FALSE(is_plain_sampling(stepwise));
          Sampler a(quick, 400), b(stepwise, 400);
          for (std::uint64_t i = 0; i < 40; ++i) {
            const auto logits = random_logits(400, i, 2);
            ASSERT_EQ(a.sample(logits, history), b.sample(logits, history)) << temperature << " " << top_k;
          }
        }
}

TEST(SamplerSteps, Typical) {
  const auto logits = random_logits(50, 1, 2);
  const Distribution p = softmax(logits);
  double entropy = 0;
  for (const auto& [token, value] : p) entropy -= value * std::log(value);
  for (const double share : {0.0, 0.2, 0.7, 0.99}) {
    std::vector<std::pair<double, Token>> order;
    for (const auto& [token, value] : p) order.emplace_back(std::abs(std::log(value) + entropy), token);
    std::sort(order.begin(), order.end());
    Distribution want;
    double sum = 0;
    for (const auto& [distance, token] : order) {
      want[token] = p.at(token);
      if ((sum += p.at(token)) > share) break;
    }
    SamplingOptions o = off();
    o.typical_p = share;
    expect_near(drawn_from(o, logits), normalised(want), concat("typical ", share));
  }
}

TEST(SamplerSteps, TopNSigma) {
  const auto logits = random_logits(200, 2, 3);
  double mean = 0, squares = 0;
  for (const float x : logits) mean += static_cast<double>(x) / 200;
  for (const float x : logits)
    squares += (static_cast<double>(x) - mean) * (static_cast<double>(x) - mean) / 200;
  const double best = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  for (const double n : {0.1, 1.0, 2.5}) {
    Distribution want = softmax(logits);
    std::erase_if(want, [&](const auto& item) {
      return static_cast<double>(logits[static_cast<std::size_t>(item.first)]) <
             best - n * std::sqrt(squares);
    });
    SamplingOptions o = off();
    o.top_n_sigma = n;
    expect_near(drawn_from(o, logits), normalised(want), concat("sigma ", n));
  }
}

TEST(SamplerSteps, XtcTakesTheBestByItsChance) {
  const std::vector<float> logits{3, 2.5f, 2, -1, -2};
  SamplingOptions o = off();
  o.xtc_threshold = 0.15;  // tokens 0, 1 and 2 reach it
  o.xtc_probability = 1;
  Distribution want = softmax(logits);
  want.erase(0);
  want.erase(1);
  expect_near(drawn_from(o, logits), normalised(want), "xtc");
  o.xtc_threshold = 0.45;  // one token alone: it stays
  expect_near(drawn_from(o, logits), softmax(logits), "xtc of one");
  o.xtc_threshold = 0.15;
  o.xtc_probability = 0.3;
  o.top_k = 3;
  Sampler sampler(o, 5);
  int taken = 0;
  for (int i = 0; i < 3000; ++i) {
    taken += sampler.distribution(logits, {}).front().first == 2 ? 1 : 0;
    sampler.sample(logits, {});
  }
  EXPECT_NEAR(taken / 3000.0, 0.3, 0.05);
}

TEST(SamplerSteps, DynamicTemperature) {
  for (const double spread : {0.1, 1.0, 5.0}) {
    const auto logits = random_logits(64, 4, spread);
    double entropy = 0;
    for (const auto& [token, value] : softmax(logits)) entropy -= value * std::log(value);
    SamplingOptions o = off();
    o.temperature = 0.8;
    o.dynatemp_range = 0.5;
    o.dynatemp_exponent = 2;
    const double share = entropy / std::log(64.0);
    const double temperature = 0.3 + 1.0 * share * share;
    std::map<Token, double> scaled;
    for (std::size_t i = 0; i < logits.size(); ++i)
      scaled[static_cast<Token>(i)] = static_cast<double>(logits[i]) / temperature;
    expect_near(drawn_from(o, logits), softmax(scaled), concat("dynatemp ", spread));
  }
}

// For each token: the longest end of the history, up to `limit`, that came before with that token behind it.
std::map<Token, std::size_t> repetitions(const std::vector<Token>& h, std::size_t limit) {
  std::map<Token, std::size_t> longest;
  for (std::size_t end = 1; end < h.size(); ++end) {  // h[end] follows an earlier h[.. end - 1]
    std::size_t n = 0;
    while (n < end && n < limit && h[end - 1 - n] == h[h.size() - 1 - n]) ++n;
    const auto [at, added] = longest.emplace(h[end], n);
    at->second = std::max(at->second, n);
  }
  return longest;
}

TEST(SamplerSteps, DryByBruteForce) {
  const std::vector<float> logits(6, 0.0f);
  for (std::uint64_t seed = 0; seed < 60; ++seed)
    for (const int allowed : {0, 1, 2, 3}) {
      SamplingOptions o = off();
      o.dry_multiplier = 0.7;
      o.dry_base = 1.5;
      o.dry_allowed_length = allowed;
      o.dry_penalty_last_n = seed % 3 == 0 ? 11 : -1;
      std::vector<Token> history;
      for (std::uint64_t i = 0; i < seed; ++i)
        history.push_back(static_cast<Token>(random_bits(seed, i) % (seed % 2 == 0 ? 2 : 4)));
      std::vector<Token> window = history;
      if (o.dry_penalty_last_n > 0 && window.size() > 11) window.erase(window.begin(), window.end() - 11);
      std::map<Token, double> want{{0, 0}, {1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 0}};
      for (const auto& [token, n] : repetitions(window, window.size()))
        if (static_cast<int>(n) >= allowed && static_cast<int>(window.size()) > allowed)
          want[token] -= 0.7 * std::pow(1.5, static_cast<double>(n) - allowed);
      expect_near(drawn_from(o, logits, history), softmax(want), concat("dry ", seed, " ", allowed));
    }
}

// A vocabulary of single letters and one pair, for the breakers.
Tokenizer letters() {
  Vocab vocab;
  vocab.source = "test";
  vocab.model = "llama";
  vocab.tokens = {"<unk>", "a", "b", "c", ":", "b:", "-", ">"};
  vocab.types.assign(vocab.tokens.size(), TokenType::normal);
  vocab.types[0] = TokenType::unknown;
  vocab.unk = 0;
  vocab.space_prefix = SpacePrefix::none;
  return Tokenizer(vocab);
}

TEST(SamplerSteps, DryStopsAtBreakers) {
  const Tokenizer tokenizer = letters();
  const std::vector<float> logits(8, 0.0f);
  const auto penalty_of = [&](const std::vector<Token>& history, Token token,
                              const std::vector<std::string>& breakers) {
    SamplingOptions o = off();
    o.dry_multiplier = 1;
    o.dry_base = 2;
    o.dry_allowed_length = 1;
    o.dry_sequence_breakers = breakers;
    Sampler sampler(o, 8, &tokenizer);
    std::map<Token, double> p;
    for (const auto& [id, value] : sampler.distribution(logits, history)) p[id] = value;
    return std::log(p[0] / p[token]);  // token 0 has none
  };
  const std::vector<Token> plain{1, 2, 3, 1, 2, 3, 1, 2};  // a b c a b c a b: c goes on with 5
  EXPECT_NEAR(penalty_of(plain, 3, {}), 16, 1e-6);
  EXPECT_NEAR(penalty_of(plain, 3, {"a"}), 1, 1e-6);       // only b is behind it
  EXPECT_NEAR(penalty_of(plain, 3, {"b"}), 0, 1e-6);       // nothing is
  EXPECT_NEAR(penalty_of(plain, 3, {"c", "a"}), 0, 1e-6);  // and c breaks alone
  // "->" is two tokens here, and only both together break.
  const std::vector<Token> arrows{6, 7, 1, 2, 6, 7, 1};  // - > a b - > a
  EXPECT_NEAR(penalty_of(arrows, 2, {}), 4, 1e-6);
  EXPECT_NEAR(penalty_of(arrows, 2, {"->"}), 1, 1e-6);
  EXPECT_NEAR(penalty_of(arrows, 2, {"-a"}), 4, 1e-6);
  // A token that has the breaker within it breaks too.
  EXPECT_NEAR(penalty_of({5, 1, 2, 5, 1}, 2, {":"}), 1, 1e-6);
  EXPECT_THROW(Sampler(
                   [] {
                     SamplingOptions o = off();
                     o.dry_multiplier = 1;
                     o.dry_sequence_breakers = {"a"};
                     return o;
                   }(),
                   8),
               Error);
}

TEST(SamplerSteps, MirostatKeepsTheSurprise) {
  const auto logits = random_logits(2000, 8, 1.5);
  for (const int version : {1, 2})
    for (const double tau : {2.0, 4.0}) {
      SamplingOptions o = off();
      o.mirostat = version;
      o.mirostat_tau = tau;
      o.seed = 5;
      const Distribution p = softmax(logits);
      Sampler sampler(o, 2000);
      double mu = 2 * tau, surprise = 0;
      const int draws = 600;
      for (int i = 0; i < draws; ++i) {
        Distribution left;
        for (const auto& [token, value] : sampler.distribution(logits, {})) left[token] = value;
        if (version == 2) {
          std::size_t within = 0;
          for (const auto& [token, value] : p) within += -std::log2(value) <= mu ? 1 : 0;
          ASSERT_EQ(left.size(), std::max<std::size_t>(within, 1)) << i;
        }
        const double bits = -std::log2(left.at(sampler.sample(logits, {})));
        mu -= 0.1 * (bits - tau);
        if (i >= 100) surprise += bits / (draws - 100);
      }
      EXPECT_NEAR(surprise, tau, 0.15) << version << " " << tau;
    }
}

TEST(SamplerSteps, OrderAndNames) {
  EXPECT_EQ(default_samplers().size(), 9u);
  for (const SamplerStep step : default_samplers()) EXPECT_EQ(sampler_step(sampler_step_name(step)), step);
  EXPECT_EQ(sampler_step("nucleus"), SamplerStep::top_p);
  EXPECT_EQ(sampler_steps_of_letters("edskypmxt"), default_samplers());
  EXPECT_THROW(sampler_step("top_q"), Error);
  EXPECT_THROW(sampler_steps_of_letters("kq"), Error);
  // The temperature first flattens what min-p then reads.
  const std::vector<float> logits{4, 2, 0};
  SamplingOptions o = off();
  o.temperature = 4;
  o.min_p = 0.3;
  EXPECT_EQ(drawn_from(o, logits).size(), 1u);
  o.samplers = {SamplerStep::temperature, SamplerStep::min_p};
  EXPECT_EQ(drawn_from(o, logits).size(), 3u);
  o.samplers.clear();  // the logits as they are
  expect_near(drawn_from(o, logits), softmax(logits), "no steps");
}

}  // namespace
}  // namespace spectralkv
