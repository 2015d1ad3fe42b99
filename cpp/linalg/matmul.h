// Weights times activations over the thread pool.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "simd/panel_layout.h"
#include "tensor/matrix.h"

namespace spectralkv {

// y[t][r] = sum_k w[r][k] x[t][k] + bias[r]: w [rows, cols] in any weight type, x [tokens, cols], y [tokens,
// rows]. Where w has panels (linalg/panels.h), x is rounded to 8 bits with a scale for every 32 values.
struct MatmulJob {
  const WeightView* w = nullptr;
  const float* bias = nullptr;  // [rows] or null
  ConstMatrix x;
  Matrix y;
};

class Matmul {
 public:
  static constexpr std::size_t kMostJobs = 8;  // of one call
  explicit Matmul(ThreadPool& pool) : pool_(pool), work_(static_cast<std::size_t>(pool.size())) {}
  // All jobs in one go over the threads, which take runs of rows as they come free. Bit for bit the same for
  // any number of threads and tokens.
  void run(std::span<const MatmulJob> jobs);
  std::int64_t work_bytes() const;

 private:
  // Activations in 8 bits, kept for the jobs that share them.
  struct Quantized {
    const float* source = nullptr;
    Buffer<simd::ActivationGroup> groups;  // [tokens, cols / 32]
  };
  const Quantized& quantized(ConstMatrix x, std::size_t& used);
  void rows(const MatmulJob& job, const Quantized* x, std::int64_t begin, std::int64_t end, int thread);

  ThreadPool& pool_;
  std::vector<Buffer<float>> work_;  // one a thread
  std::deque<Quantized> quantized_;
};

}  // namespace spectralkv
