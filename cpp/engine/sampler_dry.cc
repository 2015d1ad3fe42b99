// The history is read backwards: what repeats are then common starts, which the Z-function finds in one pass.
#include "engine/sampler_dry.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr std::size_t kLongestBreaker = 40;  // bytes
constexpr std::size_t kLongestTail = 20;     // tokens behind the one that a breaker begins in

// For each place, how many tokens from there on are those at the start.
std::vector<std::size_t> common_starts(std::span<const Token> tokens) {
  std::vector<std::size_t> common(tokens.size(), 0);
  std::size_t left = 0, right = 0;  // the known match that reaches furthest, [left, right)
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    std::size_t n = i < right ? std::min(right - i, common[i - left]) : 0;
    while (i + n < tokens.size() && tokens[n] == tokens[i + n]) ++n;
    common[i] = n;
    if (i + n > right) {
      left = i;
      right = i + n;
    }
  }
  return common;
}

}  // namespace

DryPenalty::DryPenalty(const SamplingOptions& options, const Tokenizer* tokenizer)
    : multiplier_(options.dry_multiplier),
      base_(options.dry_base),
      allowed_length_(static_cast<std::size_t>(options.dry_allowed_length)),
      last_n_(options.dry_penalty_last_n) {
  if (options.dry_sequence_breakers.empty()) return;
  check(tokenizer != nullptr, "engine",
        "dry_sequence_breakers are texts: they need the model's tokenizer, or none of them");
  for (Token token = 0; token < tokenizer->n_vocab(); ++token) {
    const std::string text = tokenizer->decode(std::span(&token, 1), true, true);
    for (const std::string& breaker : options.dry_sequence_breakers)
      add_breaker(breaker.substr(0, kLongestBreaker), token, text, *tokenizer);
  }
}

// The token has the breaker within it, or ends with what the breaker starts with.
void DryPenalty::add_breaker(const std::string& breaker, Token token, const std::string& text,
                             const Tokenizer& tokenizer) {
  const auto add = [&](std::vector<Token> tail) {
    auto& tails = breakers_[token];
    if (std::find(tails.begin(), tails.end(), tail) == tails.end()) tails.push_back(std::move(tail));
  };
  if (text.find(breaker) != std::string::npos) return add({});
  for (std::size_t at = text.find(breaker[0]); at != std::string::npos; at = text.find(breaker[0], at + 1)) {
    const std::size_t n = text.size() - at;
    if (n >= breaker.size() || text.compare(at, n, breaker, 0, n) != 0) continue;
    std::vector<Token> tail = tokenizer.encode(breaker.substr(n), false, false);
    tail.resize(std::min(tail.size(), kLongestTail));
    add(std::move(tail));
  }
}

// How many tokens at the end of the history come behind its last breaker; all where there is none.
std::size_t DryPenalty::length_to_breaker(std::span<const Token> backwards) const {
  for (std::size_t i = 0; i < backwards.size(); ++i) {
    const auto found = breakers_.find(backwards[i]);
    if (found == breakers_.end()) continue;
    const std::vector<Token>* longest = nullptr;
    for (const std::vector<Token>& tail : found->second) {
      if (tail.size() > i || (longest != nullptr && tail.size() <= longest->size())) continue;
      const auto behind = backwards.subspan(i - tail.size(), tail.size());
      if (std::equal(tail.begin(), tail.end(), behind.rbegin())) longest = &tail;
    }
    if (longest != nullptr) return i - longest->size();
  }
  return backwards.size();
}

bool DryPenalty::breaks_alone(Token token) const {
  const auto found = breakers_.find(token);
  return found != breakers_.end() && std::any_of(found->second.begin(), found->second.end(),
                                                 [](const auto& tail) { return tail.empty(); });
}

void DryPenalty::apply(Choices& choices, std::span<const Token> history) const {
  if (last_n_ >= 0) history = history.last(std::min(history.size(), static_cast<std::size_t>(last_n_)));
  if (history.size() <= allowed_length_) return;
  const std::vector<Token> backwards(history.rbegin(), history.rend());
  const std::size_t limit = length_to_breaker(backwards);
  if (limit < allowed_length_) return;
  std::unordered_map<Token, std::size_t> longest;  // that a token would go on with
  const std::vector<std::size_t> common = common_starts(backwards);
  for (std::size_t i = 1; i < backwards.size(); ++i) {
    const std::size_t length = std::min(common[i], limit);
    if (length < allowed_length_) continue;
    std::size_t& most = longest[backwards[i - 1]];
    most = std::max(most, length);
  }
  constexpr double kLargestLog = 88.7228391;  // of a float: llama.cpp lets no penalty exceed one
  const double most_exponent =
      base_ > 1.000001 ? std::floor(kLargestLog / std::log(base_)) : std::numeric_limits<double>::max();
  for (Choice& choice : choices.items) {
    const auto found = longest.find(choice.token);
    if (found == longest.end() || breaks_alone(choice.token)) continue;
    const auto exponent = static_cast<double>(found->second - allowed_length_);
    choice.logit -= multiplier_ * std::pow(base_, std::min(exponent, most_exponent));
  }
  choices.sorted = false;
}

}  // namespace spectralkv
