// Turns logits into a token.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

struct SamplingOptions {
  double temperature = 0.8;     // <= 0: greedy
  int top_k = 40;               // <= 0: off
  double top_p = 0.95;          // >= 1: off; 0 keeps the best token alone
  double min_p = 0.05;          // <= 0: off
  double repeat_penalty = 1.0;  // > 0; 1: off
  int repeat_last_n = 64;       // tokens the penalty looks back at; -1: all
  std::uint64_t seed = 0;
  std::vector<std::pair<Token, float>>
      logit_bias;  // added up where a token is named twice; -infinity bans a token
  // Off a logit for each time that the last repeat_last_n tokens have its token, and once where they do;
  // OpenAI's of these names. 0: off.
  double frequency_penalty = 0, presence_penalty = 0;
};

// Which tokens may come next: bit t % 32 of word t / 32 is set for those, [(n_vocab + 31) / 32]. Empty: all.
using TokenMask = std::span<const std::uint32_t>;

class Sampler {
 public:
  // Checks the options against the vocabulary; a value error names the one that is wrong.
  Sampler(const SamplingOptions& options, int n_vocab);

  // Order: allowed, logit bias, the penalties, then top-k, top-p, min-p, temperature, as llama.cpp does.
  // Equal logits rank by id, the lower first. The draw number i of a seed is the same everywhere; a greedy
  // choice draws none. logits: [n_vocab]; one that is not finite is a value error. history: the sequence so
  // far, for the penalties. allowed: every other token is as good as absent; one that leaves no token is a
  // value error.
  Token sample(std::span<const float> logits, std::span<const Token> history, TokenMask allowed = {});
  // How many of the best logits `sample` would look at without a mask, whatever they are; 0: at all of them.
  int candidates_needed() const;
  // The same token, from that many of the best alone: best [candidates_needed()], highest first, equal ones
  // by id, finite.
  Token sample_best(std::span<const std::pair<float, Token>> best);

 private:
  bool penalises() const;
  bool changes_logits() const;
  Token draw_candidate(double total);
  void mask(TokenMask allowed);
  void penalise(std::span<const Token> history);
  std::span<const float> adjust(std::span<const float> logits, std::span<const Token> history,
                                TokenMask allowed);
  double top_total() const;
  double collect_likely(std::span<const float> logits, float best);
  void cut_candidates(float best, double total);
  template <class Weight>
  std::size_t draw(std::size_t n, const Weight& weight);

  SamplingOptions options_;
  int n_vocab_;
  std::uint64_t draws_ = 0;
  std::vector<float> work_;
  std::vector<Token> recent_;
  std::vector<std::pair<float, Token>> candidates_;  // logit, id
};

// Natural-log probabilities of the raw logits, [n_vocab]: of `token`, and of the n most probable tokens in
// falling order (all of them when n is more than the vocabulary). NaN or an id out of range is a value error.
float token_logprob(std::span<const float> logits, Token token);
std::vector<std::pair<Token, float>> top_logprobs(std::span<const float> logits, int n);

}  // namespace spectralkv
