// Each token of the window counts, once for repetition and presence, every time for frequency.
#include "engine/sampler_penalties.h"

#include <algorithm>

#include "base/error.h"

namespace spectralkv {

void count_recent(std::span<const Token> history, int repeat_last_n, int n_vocab,
                  std::vector<TokenCount>& out) {
  if (repeat_last_n >= 0)
    history = history.last(std::min(history.size(), static_cast<std::size_t>(repeat_last_n)));
  std::vector<Token> sorted(history.begin(), history.end());
  std::sort(sorted.begin(), sorted.end());
  out.clear();
  for (const Token token : sorted) {
    check(token >= 0 && token < n_vocab, "engine", "token ", token,
          " of the history is not in the vocabulary");
    if (out.empty() || out.back().token != token) out.push_back({token, 0});
    ++out.back().count;
  }
}

float penalised(float logit, std::int64_t count, const SamplingOptions& options) {
  const auto penalty = static_cast<float>(options.repeat_penalty);
  const float repeated = logit > 0 ? logit / penalty : logit * penalty;
  return repeated - static_cast<float>(static_cast<double>(count) * options.frequency_penalty +
                                       options.presence_penalty);
}

void apply_penalties(Choices& choices, std::span<const TokenCount> recent, const SamplingOptions& options) {
  for (Choice& choice : choices.items) {
    const auto found =
        std::lower_bound(recent.begin(), recent.end(), choice.token,
                         [](const TokenCount& count, Token token) { return count.token < token; });
    if (found != recent.end() && found->token == choice.token)
      choice.logit = static_cast<double>(penalised(static_cast<float>(choice.logit), found->count, options));
  }
  choices.sorted = false;
}

}  // namespace spectralkv
