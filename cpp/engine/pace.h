// How many tokens of prompts a step may read so that it takes no longer than it should, learnt from steps.
#pragma once

#include <algorithm>
#include <cstdint>

namespace spectralkv {

class Pace {
 public:
  static constexpr std::int64_t kLeast = 16;  // fewer would make prompts slow
  static constexpr std::int64_t kFirst = 64;  // while nothing is known and nobody waits

  // pause: seconds that a step may take while requests decode; most: tokens of a step.
  Pace(double pause, std::int64_t most) : pause_(pause), most_(most) {}

  // Tokens of prompts beside requests that decode, and without them; nobody waits for the latter but those
  // who come or go, so it may take five times as long.
  std::int64_t beside() const {
    return token_s_ == 0 ? std::min(kLeast, most_) : tokens_in(kAim * pause_ - decode_s_);
  }
  std::int64_t alone() const { return token_s_ == 0 ? std::min(kFirst, most_) : tokens_in(5 * pause_); }

  // A step that read so much took so long.
  void took(std::int64_t prompt_tokens, std::int64_t decoding, double seconds) {
    if (prompt_tokens == 0) {
      decode_s_ = followed(decode_s_, seconds);
      return;
    }
    // What decoding takes, most of which is reading the weights, is not the prompt's.
    const double of_prompt = decoding > 0 ? std::max(seconds - decode_s_, 0.1 * seconds) : seconds;
    token_s_ = followed(token_s_, std::max(of_prompt, 1e-9) / static_cast<double>(prompt_tokens));
  }

 private:
  // A prompt grows slower with its length, and a machine gets busy from one step to the next: what is slower
  // counts at once, what is faster little by little, and a part of the pause is left for what comes
  // unforeseen.
  static constexpr double kAim = 0.6;
  static double followed(double was, double is) { return is > was ? is : 0.9 * was + 0.1 * is; }

  std::int64_t tokens_in(double seconds) const {
    const double tokens = std::max(seconds, 0.0) / token_s_;
    return std::clamp(static_cast<std::int64_t>(std::min(tokens, 1e6)), std::min(kLeast, most_), most_);
  }

  double pause_;
  std::int64_t most_;
  double decode_s_ = 0;  // of a step that decodes alone, of late
  double token_s_ = 0;   // of a token of a prompt, of late; 0: not known
};

}  // namespace spectralkv
