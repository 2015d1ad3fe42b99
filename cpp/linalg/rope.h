// Rotary position embedding: frequencies with their scalings, and the table of cosines and sines.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/matrix.h"

namespace spectralkv {

class Rope {
 public:
  // theta_i = freq_base^(-2 i / dims), i < dims / 2 (Su et al., RoFormer, arXiv 2104.09864).
  Rope(std::int64_t dims, double freq_base);
  // Divides every frequency: position interpolation (Chen et al., arXiv 2306.15595).
  void scale_linear(double factor);
  // Divides frequency i by factors[i] (Llama 3's scaling as GGUF stores it). factors: [dims / 2], positive.
  void divide(std::span<const float> factors);
  // YaRN (Peng et al., arXiv 2309.00071): interpolates the slow dimensions, keeps the fast ones, ramps
  // between them, and multiplies cosine and sine by attn_factor (0.1 ln factor + 1).
  void scale_yarn(double factor, double original_context, double beta_fast, double beta_slow,
                  double ext_factor, double attn_factor);

  std::int64_t dims() const { return static_cast<std::int64_t>(frequencies_.size()) * 2; }
  // out [n, dims]: row t holds cos, sin of (pos0 + t) theta_i for each i in turn.
  void fill(std::int64_t pos0, Matrix out) const;

 private:
  double base_;
  double magnitude_ = 1;
  std::vector<double> frequencies_;
};

}  // namespace spectralkv
