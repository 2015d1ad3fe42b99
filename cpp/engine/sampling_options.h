// How a token is drawn: the options, the steps and their order, and which values make sense.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

enum class SamplerStep : std::uint8_t {
  penalties,
  dry,
  top_n_sigma,
  top_k,
  typical_p,
  top_p,
  min_p,
  xtc,
  temperature
};

// llama.cpp's default, in which every step comes.
std::vector<SamplerStep> default_samplers();
// The name that llama.cpp gives a step ("typ_p"), and the step of a name or of one of its other names
// ("typical-p", "nucleus"); a value error lists the names.
std::string_view sampler_step_name(SamplerStep step);
SamplerStep sampler_step(std::string_view name);
// The steps of llama.cpp's letters, "edskypmxt"; a value error names one that is none.
std::vector<SamplerStep> sampler_steps_of_letters(std::string_view letters);

// Names, meaning and defaults are llama.cpp's.
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
  double typical_p = 1;     // >= 1: off; keeps tokens whose surprise is nearest to the entropy
  double top_n_sigma = -1;  // <= 0: off; keeps logits within so many standard deviations of the best
  // With this probability, all tokens of at least xtc_threshold but the least probable of them go. 0: off; so
  // does a threshold above a half.
  double xtc_probability = 0, xtc_threshold = 0.1;
  // > 0: the temperature lies between temperature - range and temperature + range, by the entropy.
  double dynatemp_range = 0, dynatemp_exponent = 1;
  // DRY: off a logit, multiplier * base^(length - allowed_length) where its token would go on with what the
  // last tokens repeat for `length` tokens. A multiplier of 0: off; last_n -1: all tokens.
  double dry_multiplier = 0, dry_base = 1.75;
  int dry_allowed_length = 2, dry_penalty_last_n = -1;
  std::vector<std::string> dry_sequence_breakers{"\n", ":", "\"", "*"};  // a repetition ends at these texts
  // 1, 2: that version of Mirostat takes the place of all steps but the temperature; tau is the surprise that
  // it aims at, in bits, eta how fast it learns.
  int mirostat = 0;
  double mirostat_tau = 5, mirostat_eta = 0.1;
  std::vector<SamplerStep> samplers = default_samplers();  // the steps in their order; others are left out
};

// A value error that names the option which is wrong. What depends on the vocabulary is the sampler's.
void check_sampling(const SamplingOptions& options);

// Whether DRY, and XTC, do anything where the steps have them.
bool uses_dry(const SamplingOptions& options);
bool uses_xtc(const SamplingOptions& options);
// Whether the steps are the default ones and none is on beyond penalties, top-k, top-p, min-p and
// temperature.
bool is_plain_sampling(const SamplingOptions& options);

}  // namespace spectralkv
