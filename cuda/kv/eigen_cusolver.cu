// cuSOLVER's batched solver behind eigen.h.
#include <cusolverDn.h>

#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/eigen.h"

namespace spectralkv::device_kv {
namespace {

void solver_check(cusolverStatus_t status, const char* what) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  fail(status == CUSOLVER_STATUS_ALLOC_FAILED ? ErrorKind::memory : ErrorKind::os, "cuda", "cuSOLVER: ", what,
       " failed with status ", static_cast<int>(status));
}

// What did not converge is marked.
__global__ void mark_failures(const int* info, double* values, int p) {
  if (info[blockIdx.x] != 0 && threadIdx.x == 0) values[static_cast<long long>(blockIdx.x) * p + p - 1] = NAN;
}

}  // namespace

struct BatchedEigen::State {
  cusolverDnHandle_t handle = nullptr;
  cusolverDnParams_t params = nullptr;
  device::DeviceBuffer<unsigned char> work;
  device::DeviceBuffer<int> info;
  std::vector<unsigned char> host_work;
};

BatchedEigen::BatchedEigen() : state_(std::make_unique<State>()) {
  solver_check(cusolverDnCreate(&state_->handle), "making a handle");
  solver_check(cusolverDnCreateParams(&state_->params), "making parameters");
}

BatchedEigen::~BatchedEigen() {
  if (state_->params != nullptr) static_cast<void>(cusolverDnDestroyParams(state_->params));
  if (state_->handle != nullptr) static_cast<void>(cusolverDnDestroy(state_->handle));
}

void BatchedEigen::solve(double* matrices, double* values, int count, int p, device::Stream stream) {
  State& s = *state_;
  const auto vectors = CUSOLVER_EIG_MODE_VECTOR;
  const auto lower = CUBLAS_FILL_MODE_LOWER;
  solver_check(cusolverDnSetStream(s.handle, stream), "choosing a stream");
  std::size_t on_device = 0, on_host = 0;
  solver_check(
      cusolverDnXsyevBatched_bufferSize(s.handle, s.params, vectors, lower, p, CUDA_R_64F, matrices, p,
                                        CUDA_R_64F, values, CUDA_R_64F, &on_device, &on_host, count),
      "asking for work space");
  s.work.reserve(on_device);
  s.info.reserve(static_cast<std::size_t>(count));
  if (s.host_work.size() < on_host) s.host_work.resize(on_host);
  solver_check(cusolverDnXsyevBatched(s.handle, s.params, vectors, lower, p, CUDA_R_64F, matrices, p,
                                      CUDA_R_64F, values, CUDA_R_64F, s.work.data(), on_device,
                                      s.host_work.data(), on_host, s.info.data(), count),
               "the batched eigenvalue iteration");
  mark_failures<<<static_cast<unsigned>(count), 32, 0, stream>>>(s.info.data(), values, p);
  device::cuda_check(cudaGetLastError(), "launching a kernel");
}

}  // namespace spectralkv::device_kv
