// In double: llama.cpp's are floats, so that a token at the very edge of a filter may fall on the other side.
#include "engine/sampler_steps.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace spectralkv {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

bool better(const Choice& a, const Choice& b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

std::ptrdiff_t best_place(const Choices& choices) {
  if (choices.sorted) return 0;
  return std::min_element(choices.items.begin(), choices.items.end(), better) - choices.items.begin();
}

double best_logit(const Choices& choices) {
  return choices.items[static_cast<std::size_t>(best_place(choices))].logit;
}

// Bits and nats of what has no chance count for nothing.
double entropy(const std::vector<double>& probabilities) {
  double sum = 0;
  for (const double p : probabilities)
    if (p > 0) sum -= p * std::log(p);
  return sum;
}

}  // namespace

void Choices::sort() {
  if (!sorted) std::sort(items.begin(), items.end(), better);
  sorted = true;
}

std::vector<double> Choices::probabilities() const {
  const double best = best_logit(*this);
  std::vector<double> p;
  p.reserve(items.size());
  double sum = 0;
  for (const Choice& choice : items) sum += p.emplace_back(std::exp(choice.logit - best));
  for (double& value : p) value /= sum;
  return p;
}

void keep_top_k(Choices& choices, int k) {
  if (k <= 0 || static_cast<std::size_t>(k) >= choices.items.size()) return;
  auto& items = choices.items;
  if (!choices.sorted) std::nth_element(items.begin(), items.begin() + k, items.end(), better);
  items.resize(static_cast<std::size_t>(k));
  choices.sort();
}

void keep_top_p(Choices& choices, double p) {
  if (p >= 1) return;
  choices.sort();
  const std::vector<double> probability = choices.probabilities();
  double sum = 0;
  std::size_t keep = 0;
  while (keep < probability.size()) {
    sum += probability[keep++];
    if (sum >= p) break;
  }
  choices.items.resize(keep);
}

void keep_min_p(Choices& choices, double p) {
  if (p <= 0) return;
  const double floor = best_logit(choices) + std::log(p);
  std::erase_if(choices.items, [&](const Choice& choice) { return choice.logit < floor; });
  choices.sort();  // few are left; the quick ways draw from sorted ones too
}

void keep_typical(Choices& choices, double p) {
  if (p >= 1) return;
  const std::vector<double> probability = choices.probabilities();
  const double expected = entropy(probability);
  struct Distance {
    double from_expected;
    std::size_t place;
  };
  std::vector<Distance> distances;
  for (std::size_t i = 0; i < probability.size(); ++i)
    if (probability[i] > 0) distances.push_back({std::abs(-std::log(probability[i]) - expected), i});
  std::sort(distances.begin(), distances.end(), [&](const Distance& a, const Distance& b) {
    if (a.from_expected != b.from_expected) return a.from_expected < b.from_expected;
    return better(choices.items[a.place], choices.items[b.place]);
  });
  std::vector<Choice> kept;
  double sum = 0;
  for (const Distance& distance : distances) {
    kept.push_back(choices.items[distance.place]);
    sum += probability[distance.place];
    if (sum > p) break;
  }
  choices.items = std::move(kept);
  choices.sorted = false;
}

void mask_beyond_sigma(Choices& choices, double n) {
  if (n <= 0 || choices.items.size() < 2) return;
  double sum = 0, count = 0;
  for (const Choice& choice : choices.items)
    if (choice.logit != kNever) {
      sum += choice.logit;
      ++count;
    }
  const double mean = sum / count;
  double squares = 0;
  for (const Choice& choice : choices.items)
    if (choice.logit != kNever) squares += (choice.logit - mean) * (choice.logit - mean);
  const double floor = best_logit(choices) - n * std::sqrt(squares / count);
  for (Choice& choice : choices.items)
    if (choice.logit < floor) choice.logit = kNever;
  choices.sorted = false;  // masked ones are equal now
}

void drop_most_probable(Choices& choices, double threshold) {
  if (choices.items.size() < 2) return;
  choices.sort();
  const std::vector<double> probability = choices.probabilities();
  std::size_t above = 0;
  while (above < probability.size() && probability[above] >= threshold) ++above;
  if (above < 2) return;
  choices.items.erase(choices.items.begin(), choices.items.begin() + static_cast<std::ptrdiff_t>(above) - 1);
}

void apply_temperature(Choices& choices, double temperature, double range, double exponent) {
  if (range > 0 && choices.items.size() > 1) {
    const double share =
        entropy(choices.probabilities()) / std::log(static_cast<double>(choices.items.size()));
    const double low = std::max(0.0, temperature - range), high = temperature + range;
    temperature = low + (high - low) * std::pow(share, exponent);
  }
  if (temperature > 0) {
    for (Choice& choice : choices.items) choice.logit /= temperature;
    return;
  }
  const auto best = static_cast<std::size_t>(best_place(choices));
  for (std::size_t i = 0; i < choices.items.size(); ++i)
    if (i != best) choices.items[i].logit = kNever;
}

}  // namespace spectralkv
