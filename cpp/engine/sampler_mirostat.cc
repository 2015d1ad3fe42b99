// Version 1 estimates Zipf's exponent and takes the k best tokens for it, version 2 cuts by surprise itself.
#include "engine/sampler_mirostat.h"

#include <algorithm>
#include <cmath>

namespace spectralkv {
namespace {

constexpr std::size_t kEstimatedFrom = 100;  // the most probable tokens, of which Zipf's exponent comes

double zipf_exponent(const std::vector<double>& probability) {
  double products = 0, squares = 0;
  for (std::size_t i = 0; i + 1 < std::min(kEstimatedFrom, probability.size()); ++i) {
    if (probability[i + 1] <= 0) break;  // masked: it says nothing of the text
    const double n = static_cast<double>(i);
    const double steps = std::log((n + 2) / (n + 1));
    products += steps * std::log(probability[i] / probability[i + 1]);
    squares += steps * steps;
  }
  return products / squares;
}

}  // namespace

Mirostat::Mirostat(const SamplingOptions& options, int n_vocab)
    : version_(options.mirostat),
      n_vocab_(n_vocab),
      tau_(options.mirostat_tau),
      eta_(options.mirostat_eta),
      mu_(2 * options.mirostat_tau) {}

void Mirostat::narrow(Choices& choices) const {
  choices.sort();
  const std::vector<double> probability = choices.probabilities();
  std::size_t keep = 1;
  if (version_ == 1) {
    const double exponent = zipf_exponent(probability), above = exponent - 1;
    const double k = std::pow(above * std::exp2(mu_) / (1 - std::pow(n_vocab_, -above)), 1 / exponent);
    // No number comes of one choice, and of an exponent of 0 or 1.
    keep = k >= 1 ? static_cast<std::size_t>(std::min(k, n_vocab_)) : 1;
  } else {
    while (keep < probability.size() && -std::log2(probability[keep]) <= mu_) ++keep;
  }
  choices.items.resize(std::min(keep, choices.items.size()));
}

void Mirostat::learn(double probability) {
  mu_ -= eta_ * (-std::log2(probability) - tau_);
}

}  // namespace spectralkv
