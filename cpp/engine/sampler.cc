// The default steps without full sorts: the best k through a heap or nth_element, the nucleus from the few
// tokens that can be in it. Other steps one by one, in their order.
#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "engine/best_k.h"

namespace spectralkv {
namespace {

void check_finite(std::span<const float> logits) {
  // All-ones exponent bits mark infinities and NaN; the loop has no early exit so that it vectorises.
  std::uint32_t bad = 0;
  for (const float value : logits) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bad |= (bits & 0x7f800000u) == 0x7f800000u ? 1u : 0u;
  }
  if (bad == 0) return;
  for (std::size_t i = 0; i < logits.size(); ++i)
    check(std::isfinite(logits[i]), "engine", "the logit of token ", i, " is ", logits[i],
          ": the model's weights or its cache are damaged");
}

double relative(float logit, float best) {
  return static_cast<double>(logit) - static_cast<double>(best);
}

// The id of the largest value, the lowest of equals.
Token best_token(std::span<const float> logits) {
  return static_cast<Token>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

}  // namespace

Sampler::Sampler(const SamplingOptions& options, int n_vocab, const Tokenizer* tokenizer)
    : options_(options), n_vocab_(n_vocab), plain_(is_plain_sampling(options)) {
  check(n_vocab >= 1, "engine", "a vocabulary of ", n_vocab, " tokens cannot be sampled");
  check_sampling(options);
  for (const auto& [token, bias] : options.logit_bias) {
    check(token >= 0 && token < n_vocab, "engine", "logit_bias names token ", token,
          ", but the vocabulary has ids 0 to ", n_vocab - 1);
    check(!std::isnan(bias) && bias < std::numeric_limits<float>::infinity(), "engine",
          "logit_bias of token ", token, " must be finite or -infinity, not ", bias);
  }
  const auto& steps = options.samplers;
  const bool takes_dry = std::find(steps.begin(), steps.end(), SamplerStep::dry) != steps.end();
  if (options.mirostat != 0) mirostat_.emplace(options, n_vocab);
  if (options.mirostat == 0 && takes_dry && uses_dry(options)) dry_.emplace(options, tokenizer);
}

void Sampler::check_logits(std::span<const float> logits) const {
  check(logits.size() == static_cast<std::size_t>(n_vocab_), "engine", "expected the logits of ", n_vocab_,
        " tokens, found ", logits.size());
  check_finite(logits);
}

// Gives the logits themselves where neither is asked for, else a changed copy.
std::span<const float> Sampler::allow_and_bias(std::span<const float> logits, TokenMask allowed) {
  if (options_.logit_bias.empty() && allowed.empty()) return logits;
  work_.assign(logits.begin(), logits.end());
  if (!allowed.empty()) mask(allowed);
  for (const auto& [token, bias] : options_.logit_bias) work_[static_cast<std::size_t>(token)] += bias;
  return work_;
}

void Sampler::mask(TokenMask allowed) {
  check(allowed.size() == (work_.size() + 31) / 32, "engine", "a mask of allowed tokens has ", allowed.size(),
        " words, a vocabulary of ", n_vocab_, " tokens needs ", (work_.size() + 31) / 32);
  for (std::size_t i = 0; i < work_.size(); ++i)
    if ((allowed[i / 32] >> (i % 32) & 1u) == 0) work_[i] = -std::numeric_limits<float>::infinity();
}

void Sampler::penalise(std::span<const Token> history) {
  count_recent(history, options_.repeat_last_n, n_vocab_, recent_);
  for (const auto& [token, count] : recent_) {
    float& value = work_[static_cast<std::size_t>(token)];
    value = penalised(value, count, options_);
  }
}

Token Sampler::sample(std::span<const float> logits, std::span<const Token> history, TokenMask allowed) {
  check_logits(logits);
  std::span<const float> values = allow_and_bias(logits, allowed);
  if (plain_ && penalises()) {
    if (values.data() != work_.data()) work_.assign(values.begin(), values.end());
    penalise(history);
    values = work_;
  }
  const Token top = best_token(values);
  const float best = values[static_cast<std::size_t>(top)];
  check(std::isfinite(best), "engine",
        allowed.empty() ? "logit_bias and repeat_penalty leave no token that could be sampled"
                        : "what the output must be and logit_bias leave no token that could be sampled");

  if (!plain_) return draw_choice(narrow(values, history));
  if (options_.temperature <= 0 || options_.top_k == 1) return top;
  const auto weight = [&](float value) { return std::exp(relative(value, best) / options_.temperature); };
  const bool use_top_k = options_.top_k > 0 && options_.top_k < n_vocab_;
  if (!use_top_k && options_.top_p >= 1 && options_.min_p <= 0)
    return static_cast<Token>(draw(values.size(), [&](std::size_t i) { return weight(values[i]); }));
  if (!use_top_k) return draw_candidate(collect_likely(values, best));
  best_k(values, static_cast<std::size_t>(options_.top_k), candidates_);
  return draw_candidate(top_total());
}

std::vector<std::pair<Token, double>> Sampler::distribution(std::span<const float> logits,
                                                            std::span<const Token> history,
                                                            TokenMask allowed) {
  check_logits(logits);
  Choices choices = narrow(allow_and_bias(logits, allowed), history);
  choices.sort();
  const std::vector<double> probability = choices.probabilities();
  std::vector<std::pair<Token, double>> result;
  for (std::size_t i = 0; i < probability.size(); ++i)
    result.emplace_back(choices.items[i].token, probability[i]);
  return result;
}

// What the steps, or the temperature and Mirostat, leave of the logits.
Choices Sampler::narrow(std::span<const float> values, std::span<const Token> history) {
  Choices choices;
  choices.items.reserve(values.size());
  for (std::size_t i = 0; i < values.size(); ++i)
    choices.items.push_back({static_cast<double>(values[i]), static_cast<Token>(i)});
  if (mirostat_) {
    apply_temperature(choices, options_.temperature, 0, 1);
    mirostat_->narrow(choices);
    return choices;
  }
  for (const SamplerStep step : options_.samplers) take(step, choices, history);
  return choices;
}

void Sampler::take(SamplerStep step, Choices& choices, std::span<const Token> history) {
  // Apart from the draws', so that options that make no difference change no draw.
  constexpr std::uint64_t kChances = 0x5874632d6368616e;
  const SamplingOptions& o = options_;
  switch (step) {
    case SamplerStep::penalties:
      if (!penalises()) return;
      count_recent(history, o.repeat_last_n, n_vocab_, recent_);
      return apply_penalties(choices, recent_, o);
    case SamplerStep::dry:
      if (dry_) dry_->apply(choices, history);
      return;
    case SamplerStep::top_n_sigma:
      return mask_beyond_sigma(choices, o.top_n_sigma);
    case SamplerStep::top_k:
      return keep_top_k(choices, o.top_k);
    case SamplerStep::typical_p:
      return keep_typical(choices, o.typical_p);
    case SamplerStep::top_p:
      return keep_top_p(choices, o.top_p);
    case SamplerStep::min_p:
      return keep_min_p(choices, o.min_p);
    case SamplerStep::xtc:
      if (uses_xtc(o) && random_uniform(o.seed ^ kChances, draws_) <= o.xtc_probability)
        drop_most_probable(choices, o.xtc_threshold);
      return;
    case SamplerStep::temperature:
      return apply_temperature(choices, o.temperature, o.dynatemp_range, o.dynatemp_exponent);
  }
}

Token Sampler::draw_choice(const Choices& choices) {
  const std::vector<double> probability = choices.probabilities();
  const std::size_t drawn = draw(probability.size(), [&](std::size_t i) { return probability[i]; });
  if (mirostat_) mirostat_->learn(probability[drawn]);
  return choices.items[drawn].token;
}

bool Sampler::penalises() const {
  return options_.repeat_last_n != 0 && (options_.repeat_penalty != 1.0 || options_.frequency_penalty != 0 ||
                                         options_.presence_penalty != 0);
}

bool Sampler::changes_logits() const {
  return !options_.logit_bias.empty() || penalises();
}

int Sampler::candidates_needed() const {
  if (changes_logits() || !plain_) return 0;
  if (options_.temperature <= 0 || options_.top_k == 1) return 1;
  return options_.top_k > 0 && options_.top_k < n_vocab_ ? options_.top_k : 0;
}

Token Sampler::sample_best(std::span<const std::pair<float, Token>> best) {
  if (options_.temperature <= 0 || options_.top_k == 1) return best.front().second;
  candidates_.assign(best.begin(), best.end());
  return draw_candidate(top_total());
}

// The sum of exp(logit - best) over candidates_, which are sorted.
double Sampler::top_total() const {
  double total = 0;
  for (const auto& candidate : candidates_)
    total += std::exp(relative(candidate.first, candidates_.front().first));
  return total;
}

// total: of exp(logit - best), as top-p takes its share of it.
Token Sampler::draw_candidate(double total) {
  const float best = candidates_.front().first;
  cut_candidates(best, total);
  const std::size_t drawn = draw(candidates_.size(), [&](std::size_t i) {
    return std::exp(relative(candidates_[i].first, best) / options_.temperature);
  });
  return candidates_[drawn].second;
}

// Fills candidates_ with every token that top-p and min-p could leave, sorted; gives the sum of exp(logit -
// best) over the whole vocabulary where top-p needs it.
double Sampler::collect_likely(std::span<const float> logits, float best) {
  double total = 0;
  if (options_.top_p < 1)
    for (const float value : logits) total += std::exp(relative(value, best));
  // min-p itself is a lower bound of the logits. For top-p: tokens of a probability under (1 - top_p) /
  // n_vocab hold less than 1 - top_p together, so the others already fill the nucleus; half of that leaves
  // room for rounding.
  const double floor = options_.min_p > 0
                           ? std::log(options_.min_p)
                           : std::log(0.5 * (1 - options_.top_p) * total / static_cast<double>(n_vocab_));
  candidates_.clear();
  for (std::size_t i = 0; i < logits.size(); ++i)
    if (relative(logits[i], best) >= floor) candidates_.emplace_back(logits[i], static_cast<Token>(i));
  std::sort(candidates_.begin(), candidates_.end(), better_candidate);
  return total;
}

// top-p and min-p: each keeps a front part of the sorted candidates. total: what top-p's share is taken of.
void Sampler::cut_candidates(float best, double total) {
  std::size_t keep = candidates_.size();
  if (options_.top_p < 1) {
    double cumulative = 0;
    for (std::size_t i = 0; i < keep; ++i) {
      cumulative += std::exp(relative(candidates_[i].first, best));
      if (cumulative >= options_.top_p * total) keep = i + 1;
    }
  }
  if (options_.min_p > 0) {
    const double floor = std::log(options_.min_p);
    while (keep > 1 && relative(candidates_[keep - 1].first, best) < floor) --keep;
  }
  candidates_.resize(keep);
}

// Draws an index below n with a probability in proportion to weight(index).
template <class Weight>
std::size_t Sampler::draw(std::size_t n, const Weight& weight) {
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) total += weight(i);
  const double target = random_uniform(options_.seed, draws_++) * total;
  double cumulative = 0;
  std::size_t last = 0;  // the last index of any weight, in case rounding leaves the target beyond the sum
  for (std::size_t i = 0; i < n; ++i) {
    const double w = weight(i);
    if (!(w > 0)) continue;
    cumulative += w;
    last = i;
    if (target < cumulative) break;
  }
  return last;
}

}  // namespace spectralkv
