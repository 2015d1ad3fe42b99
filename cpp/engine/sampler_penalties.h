// The penalties of what came lately: by repetition, frequency and presence.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler_steps.h"
#include "engine/sampling_options.h"

namespace spectralkv {

struct TokenCount {
  Token token;
  std::int64_t count;  // at least 1
};

// Leaves in `out` the tokens of the history's last repeat_last_n, by id, with how often each is there. A
// value error names an id beyond n_vocab.
void count_recent(std::span<const Token> history, int repeat_last_n, int n_vocab,
                  std::vector<TokenCount>& out);
// A logit of a token that came `count` times.
float penalised(float logit, std::int64_t count, const SamplingOptions& options);
void apply_penalties(Choices& choices, std::span<const TokenCount> recent, const SamplingOptions& options);

}  // namespace spectralkv
