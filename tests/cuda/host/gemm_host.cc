// The twin of cuda/linalg/gemm_cublas.cu: plain loops, with f16 and bf16 as bits.
#include "base/half.h"
#include "cuda/linalg/gemm.h"

namespace spectralkv::cuda {
namespace {

float value_at(GemmType type, const void* data, std::int64_t at) {
  if (type == GemmType::f32) return static_cast<const float*>(data)[at];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(data)[at];
  return type == GemmType::f16 ? skv_f16_to_f32(bits) : skv_bf16_to_f32(bits);
}

}  // namespace

struct Gemm::Handle {};

Gemm::Gemm(device::Stream) {}
Gemm::~Gemm() = default;

void Gemm::run(GemmType type, std::int64_t rows, std::int64_t n, std::int64_t cols, const void* w,
               std::int64_t w_stride, const void* x, std::int64_t x_stride, float* y, std::int64_t y_stride) {
  device::on_stream([=] {
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t r = 0; r < rows; ++r) {
        float sum = 0;
        for (std::int64_t c = 0; c < cols; ++c)
          sum += value_at(type, w, r * w_stride + c) * value_at(type, x, t * x_stride + c);
        y[t * y_stride + r] = sum;
      }
  });
}

}  // namespace spectralkv::cuda
