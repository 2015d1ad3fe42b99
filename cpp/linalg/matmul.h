// Weights times activations over the thread pool.
#pragma once

#include <deque>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "linalg/panels.h"
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
  // What a thread works with.
  struct Work {
    Buffer<float> floats;
    PanelPacker packer;
    Buffer<std::uint8_t> panel;  // one that is dropped
  };
  // How the rows of a job are computed: without panels, x is null.
  struct Way {
    const Quantized* x = nullptr;
    Panels::Use use = Panels::Use::kept;
  };
  const Quantized& quantized(ConstMatrix x, std::size_t& used);
  // Rows [begin, end) of a job's result,
  void rows(const MatmulJob& job, const Way& way, std::int64_t begin, std::int64_t end, Work& work);
  // by panels.
  void panel_rows(const MatmulJob& job, const Way& way, std::int64_t begin, std::int64_t end, Work& work);
  void all_rows(std::span<const MatmulJob> jobs, std::span<const Way> ways);

  ThreadPool& pool_;
  std::vector<Work> work_;  // one a thread
  std::deque<Quantized> quantized_;
};

}  // namespace spectralkv
