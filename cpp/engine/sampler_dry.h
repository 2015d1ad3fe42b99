// DRY: what would go on with a repetition is made less likely, the longer the repetition the more.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "engine/sampler_steps.h"
#include "engine/sampling_options.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

class DryPenalty {
 public:
  // tokenizer: what the sequence breakers are tokens of; needed where there are any.
  DryPenalty(const SamplingOptions& options, const Tokenizer* tokenizer);

  void apply(Choices& choices, std::span<const Token> history) const;

 private:
  // Ways to write a breaker: by the token that it begins in, the tokens that follow it.
  using Breakers = std::unordered_map<Token, std::vector<std::vector<Token>>>;

  void add_breaker(const std::string& breaker, Token token, const std::string& text,
                   const Tokenizer& tokenizer);
  std::size_t length_to_breaker(std::span<const Token> backwards) const;
  bool breaks_alone(Token token) const;

  double multiplier_, base_;
  std::size_t allowed_length_;
  int last_n_;
  Breakers breakers_;
};

}  // namespace spectralkv
