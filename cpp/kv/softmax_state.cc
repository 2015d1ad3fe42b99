// Online softmax.
#include "kv/softmax_state.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

}  // namespace

void SoftmaxState::clear() {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    max[r] = kNone;
    sum[r] = 0;
    std::memset(out.row(r), 0, static_cast<std::size_t>(out.cols) * sizeof(float));
  }
}

void SoftmaxState::absorb(Matrix s) {
  const auto& k = kernels();
  for (std::int64_t r = 0; r < s.rows; ++r) {
    const float top = k.max(s.row(r), s.cols);
    if (top == kNone) {
      std::memset(s.row(r), 0, static_cast<std::size_t>(s.cols) * sizeof(float));
      continue;
    }
    if (top > max[r]) {
      const float shrink = std::exp(max[r] - top);  // 0 for the first piece
      sum[r] *= shrink;
      k.scale(out.row(r), shrink, out.cols);
      max[r] = top;
    }
    sum[r] += k.exp_sum(s.row(r), max[r], s.cols);
  }
}

void SoftmaxState::merge(const SoftmaxState& other) {
  for (std::int64_t r = 0; r < out.rows; ++r) {
    if (other.max[r] == kNone) continue;
    const float top = std::fmax(max[r], other.max[r]);
    const float mine = std::exp(max[r] - top), theirs = std::exp(other.max[r] - top);
    max[r] = top;
    sum[r] = sum[r] * mine + other.sum[r] * theirs;
    for (std::int64_t c = 0; c < out.cols; ++c)
      out.row(r)[c] = out.row(r)[c] * mine + other.out.row(r)[c] * theirs;
  }
}

}  // namespace spectralkv
