// Turns logits into a token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "engine/sampler_dry.h"
#include "engine/sampler_mirostat.h"
#include "engine/sampler_penalties.h"
#include "engine/sampler_steps.h"
#include "engine/sampling_options.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

// Which tokens may come next: bit t % 32 of word t / 32 is set for those, [(n_vocab + 31) / 32]. Empty: all.
using TokenMask = std::span<const std::uint32_t>;

class Sampler {
 public:
  // Checks the options, also against the vocabulary; a value error names the one that is wrong. tokenizer:
  // needed where DRY is on and has sequence breakers.
  Sampler(const SamplingOptions& options, int n_vocab, const Tokenizer* tokenizer = nullptr);

  // Order: allowed, logit bias, then the steps in theirs, or the temperature and Mirostat, as llama.cpp does.
  // Equal logits rank by id, the lower first. The draw number i of a seed is the same everywhere; a greedy
  // choice draws none. logits: [n_vocab]; one that is not finite is a value error. history: the sequence so
  // far, for the penalties. allowed: every other token is as good as absent; one that leaves no token is a
  // value error.
  Token sample(std::span<const float> logits, std::span<const Token> history, TokenMask allowed = {});
  // What `sample` would draw from now: the tokens that remain, best first, with their probabilities.
  std::vector<std::pair<Token, double>> distribution(std::span<const float> logits,
                                                     std::span<const Token> history, TokenMask allowed = {});
  // How many of the best logits `sample` would look at without a mask, whatever they are; 0: at all of them.
  int candidates_needed() const;
  // The same token, from that many of the best alone: best [candidates_needed()], highest first, equal ones
  // by id, finite.
  Token sample_best(std::span<const std::pair<float, Token>> best);

 private:
  bool penalises() const;
  bool changes_logits() const;
  Token draw_candidate(double total);
  void check_logits(std::span<const float> logits) const;
  void mask(TokenMask allowed);
  void penalise(std::span<const Token> history);
  std::span<const float> allow_and_bias(std::span<const float> logits, TokenMask allowed);
  Choices narrow(std::span<const float> values, std::span<const Token> history);
  void take(SamplerStep step, Choices& choices, std::span<const Token> history);
  Token draw_choice(const Choices& choices);
  double top_total() const;
  double collect_likely(std::span<const float> logits, float best);
  void cut_candidates(float best, double total);
  template <class Weight>
  std::size_t draw(std::size_t n, const Weight& weight);

  SamplingOptions options_;
  int n_vocab_;
  bool plain_;  // the default steps, all of which the quick ways know
  std::optional<DryPenalty> dry_;
  std::optional<Mirostat> mirostat_;
  std::uint64_t draws_ = 0;
  std::vector<float> work_;
  std::vector<TokenCount> recent_;
  std::vector<std::pair<float, Token>> candidates_;  // logit, id
};

// Natural-log probabilities of the raw logits, [n_vocab]: of `token`, and of the n most probable tokens in
// falling order (all of them when n is more than the vocabulary). NaN or an id out of range is a value error.
float token_logprob(std::span<const float> logits, Token token);
std::vector<std::pair<Token, float>> top_logprobs(std::span<const float> logits, int n);

}  // namespace spectralkv
