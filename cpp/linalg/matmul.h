// Weights times activations over the thread pool.
#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "tensor/matrix.h"

namespace spectralkv {

// y[t][r] = sum_k w[r][k] x[t][k] + bias[r]: w [rows, cols] in any weight type, x [tokens, cols], y [tokens,
// rows].
struct MatmulJob {
  const WeightView* w = nullptr;
  const float* bias = nullptr;  // [rows] or null
  ConstMatrix x;
  Matrix y;
};

class Matmul {
 public:
  explicit Matmul(ThreadPool& pool) : pool_(pool), work_(static_cast<std::size_t>(pool.size())) {}
  // All jobs in one go over the threads, each split by rows. Bit for bit the same for any number of threads
  // and tokens.
  void run(std::span<const MatmulJob> jobs);

 private:
  ThreadPool& pool_;
  std::vector<Buffer<float>> work_;  // one a thread
};

}  // namespace spectralkv
