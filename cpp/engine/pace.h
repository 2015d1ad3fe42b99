// How many tokens of prompts a step may read so that it takes no longer than it should, learnt from steps.
#pragma once

#include <algorithm>
#include <cstdint>

namespace spectralkv {

class Pace {
 public:
  static constexpr std::int64_t kLeast = 16;  // fewer would make prompts slow
  static constexpr std::int64_t kFirst = 64;  // while nothing is known

  // pause: seconds that a step may take while requests decode; most: tokens of a step.
  Pace(double pause, std::int64_t most) : pause_(pause), most_(most) {}

  // Tokens of prompts beside requests that decode, and without them; nobody waits for the latter but those
  // who come or go, so it may take five times as long.
  std::int64_t beside() const { return tokens_in(pause_ - decode_s_); }
  std::int64_t alone() const { return tokens_in(5 * pause_); }

  // A step that read so much took so long.
  void took(std::int64_t prompt_tokens, std::int64_t decoding, double seconds) {
    if (prompt_tokens == 0) {
      decode_s_ = decode_s_ == 0 ? seconds : 0.8 * decode_s_ + 0.2 * seconds;
      return;
    }
    // What decoding takes, most of which is reading the weights, is not the prompt's.
    const double of_prompt = decoding > 0 ? std::max(seconds - decode_s_, 0.1 * seconds) : seconds;
    prompt_s_ = 0.8 * prompt_s_ + of_prompt;
    prompt_tokens_ = 0.8 * prompt_tokens_ + static_cast<double>(prompt_tokens);
  }

 private:
  std::int64_t tokens_in(double seconds) const {
    if (prompt_tokens_ == 0) return std::min(kFirst, most_);
    const double tokens = std::max(seconds, 0.0) * prompt_tokens_ / std::max(prompt_s_, 1e-9);
    return std::clamp(static_cast<std::int64_t>(std::min(tokens, 1e6)), std::min(kLeast, most_), most_);
  }

  double pause_;
  std::int64_t most_;
  double decode_s_ = 0;                      // of a step that decodes alone, of late
  double prompt_s_ = 0, prompt_tokens_ = 0;  // of prompts, of late
};

}  // namespace spectralkv
