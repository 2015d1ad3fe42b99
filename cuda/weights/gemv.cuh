// A weight matrix times one token's activations, straight from its planes.
//
// What bounds it is memory: a block of 128 threads takes four rows, its threads stride along them in steps of
// 16 bytes of main codes, and the loads of all four rows are under way before the first is used. 4096
// columns of 8-bit codes are two steps, so a block has 16 KiB in flight, and a multiprocessor that holds
// several blocks more than its share of what memory's latency times its bandwidth needs. Products of bytes
// keep the arithmetic under an instruction for a byte of weights.
#pragma once

#include "cuda/ops/activations.cuh"
#include "cuda/weights/dequantise.cuh"

namespace spectralkv::cuda {

inline constexpr int kGemvThreads = 128, kGemvRows = 4, kGemvJobs = 3;

// y[t][r] = sum_c w[r][c] x[t][c] + bias[r], for jobs that share x and the weights' type.
struct GemvJob {
  Planes w;
  const float* bias;  // or null
  float* y;
  std::int64_t y_stride;
};
struct GemvJobs {
  GemvJob job[kGemvJobs];
  int first_block[kGemvJobs + 1];  // of each job; the last: all blocks
};

// One thread's step along a row.
template <class F>
struct Step {
  static constexpr int kValues = F::kMain == 8 ? 16 : 32;
  static constexpr int kMainWords = F::kMainWords * kValues / 32;
  static constexpr int kHighWords = F::kHighWords > 0 ? F::kHighWords : 1;
  std::uint32_t main[kMainWords], high[kHighWords];
  RawScales raw;

  // step: counted over all rows.
  __device__ __forceinline__ void load(const Planes& w, std::int64_t step) {
    if constexpr (kMainWords == 4) {
      const uint4 words = reinterpret_cast<const uint4*>(w.main)[step];
      main[0] = words.x, main[1] = words.y, main[2] = words.z, main[3] = words.w;
    } else {
      const uint2 words = reinterpret_cast<const uint2*>(w.main)[step];
      main[0] = words.x, main[1] = words.y;
    }
    if constexpr (F::kHigh == 2) {
      const uint2 words = reinterpret_cast<const uint2*>(w.high)[step];
      high[0] = words.x, high[1] = words.y;
    }
    if constexpr (F::kHigh == 1) high[0] = w.high[step];
    raw = read_scales<F>(w, step * kValues / 32);
  }
  // x: the step's values in bytes; s: their scale and sums.
  __device__ __forceinline__ float dot(const std::uint32_t (&x)[kValues / 4], GroupScale s) const {
    constexpr int kGroups = F::kGroup == 16 ? 2 : 1, kQuads = kValues / 4 / kGroups;
    const int sums[2] = {static_cast<std::int16_t>(s.sums & 0xffffu),
                         static_cast<std::int16_t>(s.sums >> 16)};
    float total = 0;
#pragma unroll
    for (int g = 0; g < kGroups; ++g) {
      int product = 0;
#pragma unroll
      for (int q = kQuads * g; q < kQuads * (g + 1); ++q)
        product = __dp4a(static_cast<int>(quad_codes<F>(main, high, q)), static_cast<int>(x[q]), product);
      const int sum = kGroups == 2 ? sums[g] : sums[0] + sums[1];
      const Affine a = group_affine<F>(raw, g);
      if constexpr (F::kMinimum) {
        total += a.scale * static_cast<float>(product) - a.minimum * static_cast<float>(sum);
      } else {
        total += a.scale * static_cast<float>(product - F::kOffset * sum);
      }
    }
    return s.scale * total;
  }
};

// Adds what the block's threads hold of its four rows and writes them.
__device__ __forceinline__ void finish_rows(float (&sums)[kGemvRows], const GemvJob& job, std::int64_t row,
                                            std::int64_t token) {
  __shared__ float part[kGemvThreads / 32][kGemvRows];
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r) {
    const float sum = device::warp_sum(sums[r]);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32][r] = sum;
  }
  __syncthreads();
  const auto r = static_cast<int>(threadIdx.x);
  if (r >= kGemvRows || row + r >= job.w.rows) return;
  float sum = job.bias != nullptr ? job.bias[row + r] : 0.0f;
  for (int w = 0; w < kGemvThreads / 32; ++w) sum += part[w][r];
  job.y[token * job.y_stride + row + r] = sum;
}

__device__ __forceinline__ const GemvJob& job_of_block(const GemvJobs& jobs, std::int64_t& row) {
  int j = 0;
  while (j + 1 < kGemvJobs && static_cast<int>(blockIdx.x) >= jobs.first_block[j + 1]) ++j;
  row = static_cast<std::int64_t>(static_cast<int>(blockIdx.x) - jobs.first_block[j]) * kGemvRows;
  return jobs.job[j];
}

// Block x takes four rows, block y a token.
template <class F>
__global__ void __launch_bounds__(kGemvThreads) gemv_kernel(const GemvJobs jobs, QuantRows x) {
  std::int64_t row = 0;
  const GemvJob& job = job_of_block(jobs, row);
  constexpr int kValues = Step<F>::kValues;
  const std::int64_t cols = job.w.cols;
  const auto steps = static_cast<int>(cols / kValues);
  const auto* const codes = reinterpret_cast<const uint4*>(x.codes + blockIdx.y * cols);
  const GroupScale* const scales = x.scales + blockIdx.y * (cols / 32);
  std::int64_t first[kGemvRows];
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r)  // rows behind the last are read as the last
    first[r] = (row + r < job.w.rows ? row + r : job.w.rows - 1) * steps;
  float sums[kGemvRows] = {};
#pragma unroll 2
  for (int s = static_cast<int>(threadIdx.x); s < steps; s += kGemvThreads) {
    Step<F> step[kGemvRows];
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) step[r].load(job.w, first[r] + s);
    std::uint32_t values[kValues / 4];
#pragma unroll
    for (int i = 0; i < kValues / 16; ++i) {
      const uint4 four = codes[s * (kValues / 16) + i];
      values[4 * i] = four.x, values[4 * i + 1] = four.y;
      values[4 * i + 2] = four.z, values[4 * i + 3] = four.w;
    }
    const GroupScale scale = scales[s * kValues / 32];
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) sums[r] += step[r].dot(values, scale);
  }
  finish_rows(sums, job, row, blockIdx.y);
}

// The same for matrices of floats, with activations as they are: x [n, cols], rows x_stride apart.
template <FloatKind kind>
__global__ void __launch_bounds__(kGemvThreads)
    gemv_floats_kernel(const GemvJobs jobs, const float* x, std::int64_t x_stride) {
  std::int64_t row = 0;
  const GemvJob& job = job_of_block(jobs, row);
  constexpr int kValues = kind == FloatKind::f32 ? 4 : 8;
  const auto cols = static_cast<int>(job.w.cols), steps = static_cast<int>(job.w.stride / kValues);
  const float* const from = x + blockIdx.y * x_stride;
  const uint4* first[kGemvRows];
#pragma unroll
  for (int r = 0; r < kGemvRows; ++r)
    first[r] = reinterpret_cast<const uint4*>(job.w.main) +
               (row + r < job.w.rows ? row + r : job.w.rows - 1) * steps;
  float sums[kGemvRows] = {};
#pragma unroll 2
  for (int s = static_cast<int>(threadIdx.x); s < steps; s += kGemvThreads) {
    uint4 words[kGemvRows];
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) words[r] = first[r][s];
    float values[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int c = s * kValues + i;
      values[i] = c < cols ? from[c] : 0.0f;  // the padding is zeros
    }
#pragma unroll
    for (int r = 0; r < kGemvRows; ++r) {
      const std::uint32_t word[4] = {words[r].x, words[r].y, words[r].z, words[r].w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kind == FloatKind::f32) {
          sums[r] += __uint_as_float(word[i]) * values[i];
        } else if constexpr (kind == FloatKind::f16) {
          const float2 pair = device::f16x2_to_f32x2(word[i]);
          sums[r] += pair.x * values[2 * i] + pair.y * values[2 * i + 1];
        } else {
          sums[r] += device::bf16_to_f32(static_cast<std::uint16_t>(word[i])) * values[2 * i] +
                     device::bf16_to_f32(static_cast<std::uint16_t>(word[i] >> 16)) * values[2 * i + 1];
        }
      }
    }
  }
  finish_rows(sums, job, row, blockIdx.y);
}

}  // namespace spectralkv::cuda
