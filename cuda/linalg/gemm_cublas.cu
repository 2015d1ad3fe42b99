// cuBLAS behind gemm.h. Its matrices are column-major, so y^T = w x^T is asked for.
#include <cublas_v2.h>

#include "base/error.h"
#include "cuda/device/memory.h"
#include "cuda/linalg/gemm.h"

namespace spectralkv::cuda {
namespace {

constexpr std::size_t kWorkspace = std::size_t{32} << 20;  // what cuBLAS recommends for Hopper

void blas_check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  fail(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::memory : ErrorKind::os, "cuda", what, ": ",
       cublasGetStatusString(status));
}

}  // namespace

// The workspace is given, so that a captured graph needs no memory of cuBLAS's own.
struct Gemm::Handle {
  device::DeviceBuffer<std::byte> workspace{kWorkspace};
  cublasHandle_t blas = nullptr;

  explicit Handle(device::Stream stream) {
    blas_check(cublasCreate(&blas), "starting cuBLAS");
    blas_check(cublasSetStream(blas, stream), "giving cuBLAS its stream");
    blas_check(cublasSetWorkspace(blas, workspace.data(), workspace.bytes()), "giving cuBLAS memory");
  }
  ~Handle() {
    if (blas != nullptr) static_cast<void>(cublasDestroy(blas));
  }
};

Gemm::Gemm(device::Stream stream) : handle_(std::make_unique<Handle>(stream)) {}
Gemm::~Gemm() = default;

void Gemm::run(GemmType type, std::int64_t rows, std::int64_t n, std::int64_t cols, const void* w,
               std::int64_t w_stride, const void* x, std::int64_t x_stride, float* y, std::int64_t y_stride) {
  const cudaDataType_t data = type == GemmType::f32   ? CUDA_R_32F
                              : type == GemmType::f16 ? CUDA_R_16F
                                                      : CUDA_R_16BF;
  const float one = 1, zero = 0;
  const auto size = [](std::int64_t value) { return static_cast<int>(value); };
  blas_check(cublasSetMathMode(handle_->blas, type == GemmType::f32
                                                  ? CUBLAS_PEDANTIC_MATH
                                                  : CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION),
             "setting cuBLAS's arithmetic");
  blas_check(cublasGemmEx(handle_->blas, CUBLAS_OP_T, CUBLAS_OP_N, size(rows), size(n), size(cols), &one, w,
                          data, size(w_stride), x, data, size(x_stride), &zero, y, CUDA_R_32F, size(y_stride),
                          type == GemmType::f32 ? CUBLAS_COMPUTE_32F_PEDANTIC : CUBLAS_COMPUTE_32F,
                          CUBLAS_GEMM_DEFAULT),
             "a matrix product of cuBLAS");
}

}  // namespace spectralkv::cuda
