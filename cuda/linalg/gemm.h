// Dense products for prompts: cuBLAS on the device (gemm_cublas.cu), plain loops in its twin on the host
// (tests/cuda/host/gemm_host.cc).
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/device/device.h"

namespace spectralkv::cuda {

enum class GemmType { f32, f16, bf16 };  // of w and x; f32 is exact, no reduced products

class Gemm {
 public:
  explicit Gemm(device::Stream stream);
  ~Gemm();
  Gemm(const Gemm&) = delete;

  // y[t][r] = sum_c w[r][c] x[t][c], added up in f32: w [rows, cols], x [n, cols], y [n, rows], all in device
  // memory, rows w_stride, x_stride and y_stride values apart.
  void run(GemmType type, std::int64_t rows, std::int64_t n, std::int64_t cols, const void* w,
           std::int64_t w_stride, const void* x, std::int64_t x_stride, float* y, std::int64_t y_stride);

 private:
  struct Handle;
  std::unique_ptr<Handle> handle_;
};

}  // namespace spectralkv::cuda
