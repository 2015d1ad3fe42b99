// The state of a softmax that is read piece by piece: running maximum, sum and output of each query
// row. States of disjoint pieces merge, so a context can be split over threads (Milakov and Gimelshein, arXiv
// 1805.02867).
#pragma once

#include "tensor/matrix.h"

namespace spectralkv {

struct SoftmaxState {
  float* max = nullptr;  // [m]
  float* sum = nullptr;  // [m], relative to max
  Matrix out;            // [m, head_dim], relative to max

  static constexpr std::int64_t floats(std::int64_t m, std::int64_t d) { return m * (d + 2); }
  // Lays the state out over floats(m, d) values.
  SoftmaxState(float* memory, std::int64_t m, std::int64_t d)
      : max(memory), sum(memory + m), out(memory + 2 * m, m, d) {}
  void clear();
  // Turns logits s [m, n] into probabilities exp(s - max) in place, after raising max, sum and out to a new
  // common maximum. A row whose logits are all -infinity gets zeros.
  void absorb(Matrix s);
  // Adds another state's rows.
  void merge(const SoftmaxState& other);
};

}  // namespace spectralkv
