// Products of rows with the matrix of the expert that each goes to, which only the device knows: a launch has
// blocks for every row, and one whose expert is not among the launch's ends at once. So a pass can be
// recorded. Activations stay in f32; a row's sums do not depend on the others.
#pragma once

#include "backend/route.h"
#include "cuda/device/reduce.cuh"
#include "cuda/weights/dequantise.cuh"

namespace spectralkv::cuda {

inline constexpr int kExpertWarps = 4, kExpertsPerLaunch = 32;  // a warp takes a row of a matrix

// y[s][r] = sum_c w[e][r][c] x[s / share][c] for slots s whose expert e is one of `count` from `first` on.
struct ExpertGemv {
  Planes w[kExpertsPerLaunch];  // all [rows, cols]
  int first, count;
  const Route* routes;  // [slots]
  const float* x;       // [slots / share, cols], rows without gaps
  float* y;             // [slots, rows], rows without gaps
  std::int64_t share;
};

// A warp's row: sum(the expert's planes, the row, x of the slot) gives its lanes' parts. Blocks go slot by
// slot, each takes four rows.
template <class Sum>
__device__ __forceinline__ void expert_row(const ExpertGemv& a, const Sum& sum) {
  const std::int64_t rows = a.w[0].rows, blocks = (rows + kExpertWarps - 1) / kExpertWarps;
  const std::int64_t slot = blockIdx.x / blocks;
  const std::int64_t row = blockIdx.x % blocks * kExpertWarps + threadIdx.x / 32;
  const int e = a.routes[slot].expert - a.first;
  if (e < 0 || e >= a.count || row >= rows) return;  // whole warps
  const float total = device::warp_sum(sum(a.w[e], row, a.x + slot / a.share * a.w[0].cols));
  if (threadIdx.x % 32 == 0) a.y[slot * rows + row] = total;
}

template <class F>
__global__ void expert_gemv_kernel(const ExpertGemv a) {
  expert_row(a, [](const Planes& w, std::int64_t row, const float* x) {
    float sum = 0;
    for (std::int64_t quad = threadIdx.x % 32; quad < w.cols / 4; quad += 32) {
      float values[4];
      quad_values<F>(w, row * (w.cols / 32) + quad / 8, static_cast<int>(quad % 8), values);
      for (int i = 0; i < 4; ++i) sum += values[i] * x[4 * quad + i];
    }
    return sum;
  });
}

// The same for matrices of floats.
template <FloatKind kind>
__global__ void expert_gemv_floats_kernel(const ExpertGemv a) {
  expert_row(a, [](const Planes& w, std::int64_t row, const float* x) {
    float sum = 0;
    for (std::int64_t c = threadIdx.x % 32; c < w.cols; c += 32)
      sum += float_value<kind>(w, row * w.stride + c) * x[c];
    return sum;
  });
}

}  // namespace spectralkv::cuda
