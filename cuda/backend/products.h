// Weights times activations: fused kernels for a few tokens, tiles of plain numbers and cuBLAS for many.
#pragma once

#include <array>
#include <span>

#include "cuda/backend/activations.h"
#include "cuda/linalg/gemm.h"
#include "cuda/weights/device_weight.h"
#include "linalg/matmul.h"

namespace spectralkv::cuda {

class Products {
 public:
  // exact: activations and weights meet in f32.
  Products(bool exact, Activations& activations, device::Stream stream)
      : exact_(exact), activations_(activations), gemm_(stream), stream_(stream) {
    device::fill_bytes(arrived_.data(), 0, arrived_.bytes(), stream);
  }

  // The weights of all jobs are on the device (weights/device_weight.h). The last launch of few tokens waits
  // for what comes next, which may be part of it: one of the functions below.
  void run(std::span<const MatmulJob> jobs);
  void settle() { launch({}); }
  // Whether what waits gives y last, a single row, and can norm it with the residual x.
  bool can_norm(ConstMatrix x, ConstMatrix y, ConstMatrix out) const;
  void settle_with_norm(NormArgs args);
  // Whether what waits is gate and up, and can make SwiGLU of them.
  bool can_pair(ConstMatrix gate, ConstMatrix up) const;
  void settle_with_pairs(const QuantRows& rounded);
  void forget() { waiting_ = {}; }

  // Whether n tokens' activations are wanted in 8 bits.
  bool wants_quantised(std::int64_t n) const { return !exact_ && n <= kFewTokens; }
  // Whether products of n tokens with weights, some of them quantised, some not, are kernels of this library.
  bool kernels_alone(std::int64_t n, bool quantised, bool dense) const;
  std::int64_t work_bytes() const { return static_cast<std::int64_t>(tile_.bytes() + exact_tile_.bytes()); }

 private:
  struct Waiting {
    std::array<DeviceJob, 3> jobs{};
    std::size_t n = 0;  // of them; 0: nothing waits
    ConstMatrix x{};
    QuantRows quantised{};
  };
  void launch(const GemvTail& tail);
  void many(const MatmulJob& job);
  template <class Value>
  void by_tiles(const MatmulJob& job, GemmType type, const Value* x, std::int64_t x_stride,
                device::DeviceBuffer<Value>& tile);

  bool exact_;
  Activations& activations_;
  Gemm gemm_;
  device::Stream stream_;
  Waiting waiting_;
  device::DeviceBuffer<unsigned> arrived_{1};  // GemvTail::arrived
  device::DeviceBuffer<std::uint16_t> tile_;   // rows of a matrix as f16
  device::DeviceBuffer<float> exact_tile_;
};

}  // namespace spectralkv::cuda
