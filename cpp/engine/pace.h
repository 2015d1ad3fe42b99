// How many tokens of prompts a step may read so that it takes no longer than it should, learnt from steps.
#pragma once

#include <algorithm>
#include <cstdint>

namespace spectralkv {

class Pace {
 public:
  static constexpr std::int64_t kLeast = 16;  // fewer would make prompts slow

  // seconds: what a step should take at most; most: tokens.
  Pace(double seconds, std::int64_t most)
      : seconds_(seconds), most_(most), tokens_(std::min<std::int64_t>(64, most)) {}

  std::int64_t tokens() const { return tokens_; }
  // A step that read n tokens of prompts took so long. Only steps that were full say something.
  void took(std::int64_t n, double seconds) {
    if (n < tokens_) return;
    const double factor = std::clamp(seconds_ / std::max(seconds, 1e-6), 0.5, 2.0);
    const auto next = static_cast<std::int64_t>(factor * static_cast<double>(n));
    tokens_ = std::clamp(next, std::min(kLeast, most_), most_);
  }

 private:
  double seconds_;
  std::int64_t most_, tokens_;
};

}  // namespace spectralkv
