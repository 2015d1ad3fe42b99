// Many symmetric eigenproblems of one size. Two forms: cuSOLVER (eigen_cusolver.cu), and Eigen under the host
// executor (tests/cuda/host/eigen_host.cc).
#pragma once

#include <memory>

#include "cuda/device/device.h"

namespace spectralkv::device_kv {

class BatchedEigen {
 public:
  BatchedEigen();
  ~BatchedEigen();
  // matrices [count, p, p], symmetric, become eigenvectors, one a row; values [count, p] rising. All in
  // device memory. An iteration that does not converge leaves NaN in its values.
  void solve(double* matrices, double* values, int count, int p, device::Stream stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spectralkv::device_kv
