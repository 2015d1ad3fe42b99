// Mirostat: keeps the surprise of the text near a target by how many tokens may be drawn.
#pragma once

#include "engine/sampler_steps.h"
#include "engine/sampling_options.h"

namespace spectralkv {

class Mirostat {
 public:
  // options.mirostat is 1 or 2.
  Mirostat(const SamplingOptions& options, int n_vocab);

  // Keeps the tokens that may be drawn now, sorted.
  void narrow(Choices& choices) const;
  // A token of that probability among them was drawn.
  void learn(double probability);

 private:
  int version_;
  double n_vocab_, tau_, eta_;
  double mu_;  // the most surprise that may be drawn, bits
};

}  // namespace spectralkv
