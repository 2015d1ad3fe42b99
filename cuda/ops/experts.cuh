// Which experts each row goes to, and the sum of what they give.
#pragma once

#include "backend/route.h"
#include "cuda/device/device.h"

namespace spectralkv::cuda {

// One thread a row of logits [n, n_experts], rows without gaps; routes [n, used].
template <int>
__global__ void route_kernel(const float* logits, std::int64_t n, int n_experts, int used, Route* routes) {
  const std::int64_t t = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (t < n) choose_experts(logits + t * n_experts, n_experts, used, routes + t * used);
}

// out[t] = the sum over row t's slots s, in their order, of the route's weight times rows[s]; one thread a
// value of out [n, cols]. rows [n * used, cols] and out without gaps.
template <int>
__global__ void mix_experts_kernel(const Route* routes, const float* rows, std::int64_t n, std::int64_t cols,
                                   int used, float* out) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * cols) return;
  const std::int64_t first = i / cols * used;
  float sum = 0;
  for (int j = 0; j < used; ++j) sum += routes[first + j].weight * rows[(first + j) * cols + i % cols];
  out[i] = sum;
}

}  // namespace spectralkv::cuda
