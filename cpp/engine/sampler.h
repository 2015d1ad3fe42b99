// Turns logits into a token.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

struct SamplingOptions {
  double temperature = 0.8;  // <= 0: greedy
  int top_k = 40;            // <= 0: off
  double top_p = 0.95;       // >= 1: off
  double min_p = 0.05;       // <= 0: off
  double repeat_penalty = 1.0;
  int repeat_last_n = 64;  // tokens the penalty looks back at; -1: all
  std::uint64_t seed = 0;
  std::vector<std::pair<Token, float>> logit_bias;
};

class Sampler {
 public:
  // Checks the options against the vocabulary; a value error names the one that is wrong.
  Sampler(const SamplingOptions& options, int n_vocab);

  // Order: logit bias, repeat penalty, then top-k, top-p, min-p, temperature, as llama.cpp does. The draw number i of a
  // seed is the same everywhere. Non-finite logits are an error.
  Token sample(std::span<const float> logits, std::span<const Token> history);

 private:
  SamplingOptions options_;
  std::uint64_t draws_ = 0;
  std::vector<float> work_;
  std::vector<std::pair<float, Token>> candidates_;
};

// Natural-log probabilities of the raw logits: of `token`, and the n most probable tokens in falling order.
float token_logprob(std::span<const float> logits, Token token);
std::vector<std::pair<Token, float>> top_logprobs(std::span<const float> logits, int n);

}  // namespace spectralkv
