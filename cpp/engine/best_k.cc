// The k largest logits, and log-probabilities, which rank in the same order.
#include "engine/best_k.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/sampler.h"

namespace spectralkv {
namespace {

// log(sum(exp(logits))), over all of them.
double log_sum_exp(std::span<const float> logits) {
  check(!logits.empty(), "engine", "there are no logits");
  const float best = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float value : logits) sum += std::exp(static_cast<double>(value) - static_cast<double>(best));
  const double result = static_cast<double>(best) + std::log(sum);
  check(std::isfinite(result), "engine", "the logits are not finite");
  return result;
}

}  // namespace

bool better_candidate(const Candidate& a, const Candidate& b) {
  return a.first > b.first || (a.first == b.first && a.second < b.second);
}

void best_k(std::span<const float> logits, std::size_t k, std::vector<Candidate>& out) {
  constexpr std::size_t kHeapLimit = 1024;  // up to here a heap: one comparison for nearly every token
  out.clear();
  k = std::min(k, logits.size());
  if (k == 0) return;
  if (k <= kHeapLimit) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (out.size() == k && !(logits[i] > out.front().first)) continue;
      if (out.size() == k) {
        std::pop_heap(out.begin(), out.end(), better_candidate);  // the worst goes to the back
        out.pop_back();
      }
      out.emplace_back(logits[i], static_cast<Token>(i));
      std::push_heap(out.begin(), out.end(), better_candidate);
    }
  } else {
    out.reserve(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) out.emplace_back(logits[i], static_cast<Token>(i));
    if (k < out.size()) {
      std::nth_element(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(k), out.end(),
                       better_candidate);
      out.resize(k);
    }
  }
  std::sort(out.begin(), out.end(), better_candidate);
}

float token_logprob(std::span<const float> logits, Token token) {
  check(token >= 0 && static_cast<std::size_t>(token) < logits.size(), "engine", "token ", token,
        " is not in the vocabulary of ", logits.size());
  return static_cast<float>(static_cast<double>(logits[static_cast<std::size_t>(token)]) -
                            log_sum_exp(logits));
}

std::vector<std::pair<Token, float>> top_logprobs(std::span<const float> logits, int n) {
  check(n >= 0, "engine", "cannot give ", n, " log-probabilities");
  const double norm = log_sum_exp(logits);
  std::vector<Candidate> best;
  best_k(logits, static_cast<std::size_t>(n), best);
  std::vector<std::pair<Token, float>> result;
  result.reserve(best.size());
  for (const auto& [logit, token] : best)
    result.emplace_back(token, static_cast<float>(static_cast<double>(logit) - norm));
  return result;
}

}  // namespace spectralkv
