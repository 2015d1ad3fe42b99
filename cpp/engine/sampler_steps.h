// The steps that narrow or reshape what a token is drawn from, each by llama.cpp's definition.
#pragma once

#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

struct Choice {
  double logit;
  Token token;
};

// What may still be drawn. A logit of -infinity counts as a choice, of probability 0.
struct Choices {
  std::vector<Choice> items;  // never empty
  bool sorted = false;        // highest logit first, equal ones by id

  void sort();
  // Probabilities, in the order of the items.
  std::vector<double> probabilities() const;
};

// Each is off, and changes nothing, for the values that SamplingOptions calls off.
void keep_top_k(Choices& choices, int k);
void keep_top_p(Choices& choices, double p);
void keep_min_p(Choices& choices, double p);
void keep_typical(Choices& choices, double p);
void mask_beyond_sigma(Choices& choices, double n);
// XTC once its chance has come: all of at least `threshold` but the least probable of them go.
void drop_most_probable(Choices& choices, double threshold);
// range > 0: by the entropy between temperature - range and temperature + range.
void apply_temperature(Choices& choices, double temperature, double range, double exponent);

}  // namespace spectralkv
