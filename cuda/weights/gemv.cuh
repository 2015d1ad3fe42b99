// A weight matrix times the activations of a few tokens, straight from its planes.
//
// What bounds it is memory. A warp takes four rows at a time; its lanes stride along them in steps of 16
// bytes of main codes, and each brings its own pieces into shared memory by copies that run beside the
// arithmetic:
//
//     stage  0         1         2         0         ...     step after step, row group after row group
//            arrives   arrives   arrives   <- begun while the step two before is multiplied
//
// Nobody else reads a lane's pieces, so there is no barrier; and nothing of the next step waits in registers.
// The thread blocks stay for all the rows that there are, so that the stream of loads never runs dry between
// rows. Weights do not depend on what was launched before: the first stages are on their way before the
// activations are waited for. Products of bytes keep the arithmetic under an instruction for a byte of
// weights.
//
// What comes next on few values can be part of the launch: the last thread block adds the products to the
// residual, norms and rounds; or each block has rows of gate and up that belong together, and makes SwiGLU of
// them.
#pragma once

#include "cuda/device/arrivals.cuh"
#include "cuda/weights/dequantise.cuh"
#include "cuda/weights/gemv_tail.h"

namespace spectralkv::cuda {

inline constexpr int kGemvThreads = kTailThreads, kGemvWarps = kGemvThreads / 32, kGemvRows = 4,
                     kGemvJobs = 3;
inline constexpr int kGemvStages = 3, kGemvTokens = 4;
// Thread blocks for a multiprocessor, at least, by registers.
template <int tokens>
inline constexpr int kGemvBlocks = tokens == 1 ? 6 : 4;

// y[t][r] = sum_c w[r][c] x[t][c] + bias[r], for jobs that share x and the weights' type.
struct GemvJob {
  Planes w;
  const float* bias;  // or null
  float* y;
  std::int64_t y_stride;
};
// Groups of four rows are numbered over all jobs, one after the other. Where two jobs are paired, their rows
// a multiple of 32, sixteen numbers are 32 rows of both, four numbers those of a warp: two of job 0's, the
// two beside them of job 1's.
struct GemvJobs {
  GemvJob job[kGemvJobs];
  int first_group[kGemvJobs + 1];  // of each job; the last: all
  bool paired;
};
// Bytes of shared memory that the copies of a row take, a thread and stage.
template <class F>
inline constexpr int kStepBytes = 4 * F::kMainWords*(F::kMain == 8 ? 16 : 32) / 32 + 4 * F::kHighWords + 4 +
                                  (F::kFineBytes > 0 ? 4 : 0);
constexpr std::size_t gemv_shared(int step_bytes) {
  return static_cast<std::size_t>(kGemvStages * kGemvRows * kGemvThreads * step_bytes);
}

// One thread's step along a row, and the rows x that it is multiplied with.
template <class F>
struct QuantStep {
  static constexpr int kValues = F::kMain == 8 ? 16 : 32, kBytes = kStepBytes<F>;
  static constexpr int kMainWords = F::kMainWords * kValues / 32, kMain = 4 * kMainWords;
  static constexpr int kHigh = 4 * F::kHighWords, kFine = F::kFineBytes > 0 ? 4 : 0, kCoarse = 2 * F::kCoarse;
  static constexpr int kEach = kGemvRows * kGemvThreads;  // pieces of a kind in a stage
  struct Token {
    std::uint32_t values[kValues / 4];
    GroupScale scale;
  };

  QuantRows x;
  std::int64_t cols;

  __device__ __forceinline__ static int steps(const Planes& w) { return static_cast<int>(w.cols / kValues); }
  // at: which of the stage's pieces; step: counted over all rows. Scales of less than 4 bytes come with their
  // neighbours.
  __device__ __forceinline__ static void fetch(std::uint8_t* stage, int at, const Planes& w,
                                               std::int64_t step) {
    const std::int64_t chunk = step * kValues / 32, super = chunk / (F::kSuper / 32);
    device::copy_async<kMain>(stage + at * kMain, w.main + step * kMainWords);
    stage += kEach * kMain;
    if constexpr (kHigh > 0) {
      device::copy_async<kHigh>(stage + at * kHigh, w.high + step * F::kHighWords);
      stage += kEach * kHigh;
    }
    device::copy_async<4>(stage + at * 4,
                          reinterpret_cast<const std::uint32_t*>(w.coarse) + super * kCoarse / 4);
    stage += kEach * 4;
    if constexpr (kFine > 0)
      device::copy_async<4>(stage + at * 4,
                            reinterpret_cast<const std::uint32_t*>(w.fine) + chunk * F::kFineBytes / 4);
  }
  __device__ __forceinline__ Token token(int t, int s) const {
    Token token;
    const auto* const codes = reinterpret_cast<const uint4*>(x.codes + t * cols);
#pragma unroll
    for (int i = 0; i < kValues / 16; ++i) {
      const uint4 four = codes[s * (kValues / 16) + i];
      token.values[4 * i] = four.x, token.values[4 * i + 1] = four.y;
      token.values[4 * i + 2] = four.z, token.values[4 * i + 3] = four.w;
    }
    token.scale = x.scales[t * (cols / 32) + s * kValues / 32];
    return token;
  }

  // The step as it has arrived.
  struct Arrived {
    std::uint32_t main[kMainWords], high[F::kHighWords > 0 ? F::kHighWords : 1];
    RawScales raw;

    __device__ __forceinline__ Arrived(const std::uint8_t* stage, int at, std::int64_t step) {
      const std::int64_t chunk = step * kValues / 32, super = chunk / (F::kSuper / 32);
      if constexpr (kMainWords == 4) {
        const uint4 words = reinterpret_cast<const uint4*>(stage)[at];
        main[0] = words.x, main[1] = words.y, main[2] = words.z, main[3] = words.w;
      } else {
        const uint2 words = reinterpret_cast<const uint2*>(stage)[at];
        main[0] = words.x, main[1] = words.y;
      }
      stage += kEach * kMain;
      if constexpr (kHigh == 8) {
        const uint2 words = reinterpret_cast<const uint2*>(stage)[at];
        high[0] = words.x, high[1] = words.y;
      }
      if constexpr (kHigh == 4) high[0] = reinterpret_cast<const std::uint32_t*>(stage)[at];
      stage += kEach * kHigh;
      // What stands above is cut off by who reads it.
      raw.coarse = reinterpret_cast<const std::uint32_t*>(stage)[at];
      if constexpr (kCoarse == 2) raw.coarse >>= 16 * (super & 1);
      stage += kEach * 4;
      raw.fine = 0;
      if constexpr (kFine > 0)
        raw.fine = reinterpret_cast<const std::uint32_t*>(stage)[at] >> 8 * (chunk * F::kFineBytes & 3);
    }
    __device__ __forceinline__ float dot(const Token& x) const {
      constexpr int kGroups = F::kGroup == 16 ? 2 : 1, kQuads = kValues / 4 / kGroups;
      const int sums[2] = {static_cast<std::int16_t>(x.scale.sums & 0xffffu),
                           static_cast<std::int16_t>(x.scale.sums >> 16)};
      float total = 0;
#pragma unroll
      for (int g = 0; g < kGroups; ++g) {
        int product = 0;
#pragma unroll
        for (int q = kQuads * g; q < kQuads * (g + 1); ++q)
          product =
              __dp4a(static_cast<int>(quad_codes<F>(main, high, q)), static_cast<int>(x.values[q]), product);
        const int sum = kGroups == 2 ? sums[g] : sums[0] + sums[1];
        const Affine a = group_affine<F>(raw, g);
        if constexpr (F::kMinimum) {
          total += a.scale * static_cast<float>(product) - a.minimum * static_cast<float>(sum);
        } else {
          total += a.scale * static_cast<float>(product - F::kOffset * sum);
        }
      }
      return x.scale.scale * total;
    }
  };
};

// The same for matrices of floats, with activations as they are: x [n, cols], rows x_stride apart.
template <FloatKind kind>
struct FloatStep {
  static constexpr int kValues = kind == FloatKind::f32 ? 4 : 8, kBytes = 16;
  struct Token {
    float values[kValues];
  };

  const float* x;
  std::int64_t x_stride;
  int cols;

  __device__ __forceinline__ static int steps(const Planes& w) {
    return static_cast<int>(w.stride / kValues);
  }
  __device__ __forceinline__ static void fetch(std::uint8_t* stage, int at, const Planes& w,
                                               std::int64_t step) {
    device::copy_async<16>(stage + at * 16, w.main + step * 4);
  }
  __device__ __forceinline__ Token token(int t, int s) const {
    Token token;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const int c = s * kValues + i;
      token.values[i] = c < cols ? x[t * x_stride + c] : 0.0f;  // the padding is zeros
    }
    return token;
  }

  struct Arrived {
    std::uint32_t words[4];
    __device__ __forceinline__ Arrived(const std::uint8_t* stage, int at, std::int64_t) {
      const uint4 all = reinterpret_cast<const uint4*>(stage)[at];
      words[0] = all.x, words[1] = all.y, words[2] = all.z, words[3] = all.w;
    }
    __device__ __forceinline__ float dot(const Token& x) const {
      float sum = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kind == FloatKind::f32) {
          sum += __uint_as_float(words[i]) * x.values[i];
        } else if constexpr (kind == FloatKind::f16) {
          const float2 pair = device::f16x2_to_f32x2(words[i]);
          sum += pair.x * x.values[2 * i] + pair.y * x.values[2 * i + 1];
        } else {
          sum += device::bf16_to_f32(static_cast<std::uint16_t>(words[i])) * x.values[2 * i] +
                 device::bf16_to_f32(static_cast<std::uint16_t>(words[i] >> 16)) * x.values[2 * i + 1];
        }
      }
      return sum;
    }
  };
};

__device__ __forceinline__ const GemvJob& job_of_group(const GemvJobs& jobs, int group, std::int64_t& row) {
  if (jobs.paired) {
    row = static_cast<std::int64_t>((group >> 4) * 8 + (group >> 2 & 3) * 2 + (group & 1)) * kGemvRows;
    return jobs.job[group >> 1 & 1];
  }
  int j = 0;
  while (j + 1 < kGemvJobs && group >= jobs.first_group[j + 1]) ++j;
  row = static_cast<std::int64_t>(group - jobs.first_group[j]) * kGemvRows;
  return jobs.job[j];
}

// Rows behind the last are read as the last.
__device__ __forceinline__ std::int64_t row_or_last(const Planes& w, std::int64_t row) {
  return row < w.rows ? row : w.rows - 1;
}

// A warp's groups. Neighbours are on different multiprocessors, or of paired jobs in one block.
__device__ __forceinline__ int first_group(const GemvJobs& jobs) {
  const int warp = static_cast<int>(threadIdx.x) / 32, block = static_cast<int>(blockIdx.x);
  return jobs.paired ? 16 * block + 4 * warp : warp * static_cast<int>(gridDim.x) + block;
}
__device__ __forceinline__ int next_group(const GemvJobs& jobs, int group) {
  const auto blocks = static_cast<int>(gridDim.x);
  if (!jobs.paired) return group + kGemvWarps * blocks;
  return (group & 3) != 3 ? group + 1 : group + 16 * blocks - 3;
}

// Values of 32 paired rows, of gate and up.
template <int kTokens>
using Pairs = float[kTokens][2][32];
template <int kTokens>
constexpr std::size_t pairs_shared(const GemvTail& tail) {
  return tail.paired ? 2 * sizeof(Pairs<kTokens>) : 0;
}
// Of a block's 32 paired rows: every other time 1.
__device__ __forceinline__ int turn_of(int group) {
  return (group >> 4) / static_cast<int>(gridDim.x) & 1;
}
// Values of the block's next rows are elsewhere: so one barrier is enough. All threads of the block, each
// warp behind its fourth group.
template <int kTokens>
__device__ __forceinline__ void join_pairs(const GemvJobs& jobs, const GemvTail& tail, int group, int n,
                                           const Pairs<kTokens>& values) {
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32, t = static_cast<int>(threadIdx.x) / 32;
  static_assert(kTokens <= kGemvWarps, "a warp rounds a token");
  if (t >= n) return;
  const GemvJob& gate = jobs.job[0];
  const std::int64_t row = (group >> 4) * 32;
  const float value = silu_mul(values[t][0][lane], values[t][1][lane]);
  gate.y[t * gate.y_stride + row + lane] = value;
  if (tail.rounded.codes != nullptr) put_quantised(value, t * gate.w.rows + row, tail.rounded);
}

// A warp's way through its row groups: what it brings, a stage for each call.
template <class Step>
struct GemvFetch {
  const GemvJobs& jobs;
  std::uint8_t* stages;
  int group, turn = 0, stage = 0;

  __device__ __forceinline__ void next() {
    constexpr int kStage = kGemvRows * kGemvThreads * Step::kBytes;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (group < jobs.first_group[kGemvJobs]) {
      std::int64_t row = 0;
      const Planes& w = job_of_group(jobs, group, row).w;
      const int steps = Step::steps(w), s = turn * 32 + lane;
#pragma unroll
      for (int r = 0; r < kGemvRows; ++r)
        if (s < steps)
          Step::fetch(stages + stage * kStage, r * kGemvThreads + static_cast<int>(threadIdx.x), w,
                      row_or_last(w, row + r) * steps + s);
      if (++turn * 32 >= steps) turn = 0, group = next_group(jobs, group);
    }
    device::commit_copies();
    stage = stage + 1 == kGemvStages ? 0 : stage + 1;
  }
};

// n: tokens, up to kTokens.
template <class Step, int kTokens>
__device__ __forceinline__ void gemv_rows(const GemvJobs& jobs, const Step& x, int n, const GemvTail& tail) {
  constexpr int kStage = kGemvRows * kGemvThreads * Step::kBytes;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  std::uint8_t* const stages = device::dynamic_shared<std::uint8_t>();
  auto* const pairs = reinterpret_cast<Pairs<kTokens>*>(stages + kGemvStages * kStage);  // in turn
  GemvFetch<Step> fetch{jobs, stages, first_group(jobs)};
#pragma unroll
  for (int i = 0; i + 1 < kGemvStages; ++i) fetch.next();
  if (tail.norm.x != nullptr && blockIdx.x == 0)  // a token's weights have driven it out of the second cache
    for (std::int64_t c = 32 * threadIdx.x; c < tail.norm.cols; c += 32 * kGemvThreads)
      device::fetch_ahead(tail.norm.gain + c);
  device::wait_for_earlier();
  device::let_next_start();
  int stage = 0;
  for (int group = first_group(jobs); group < jobs.first_group[kGemvJobs]; group = next_group(jobs, group)) {
    std::int64_t row = 0;
    const GemvJob& job = job_of_group(jobs, group, row);
    const int steps = Step::steps(job.w);
    float sums[kTokens][kGemvRows] = {};
    for (int turn = 0; turn * 32 < steps; ++turn) {
      fetch.next();
      device::wait_for_copies<kGemvStages - 1>();
      const int s = turn * 32 + lane;
      if (s < steps) {
        typename Step::Token tokens[kTokens];
#pragma unroll
        for (int t = 0; t < kTokens; ++t) tokens[t] = x.token(t < n ? t : n - 1, s);
#pragma unroll
        for (int r = 0; r < kGemvRows; ++r) {
          const typename Step::Arrived arrived(stages + stage * kStage,
                                               r * kGemvThreads + static_cast<int>(threadIdx.x),
                                               row_or_last(job.w, row + r) * steps + s);
#pragma unroll
          for (int t = 0; t < kTokens; ++t)
            if (t < n) sums[t][r] += arrived.dot(tokens[t]);
        }
      }
      stage = stage + 1 == kGemvStages ? 0 : stage + 1;
    }
#pragma unroll
    for (int t = 0; t < kTokens; ++t)
#pragma unroll
      for (int r = 0; r < kGemvRows; ++r) {
        const float sum = device::warp_sum(sums[t][r]);
        if (lane == r && t < n && row + r < job.w.rows) {
          const float value = sum + (job.bias != nullptr ? job.bias[row + r] : 0.0f);
          job.y[t * job.y_stride + row + r] = value;
          if (jobs.paired) pairs[turn_of(group)][t][group >> 1 & 1][(row + r) & 31] = value;
        }
      }
    if (jobs.paired && (group & 3) == 3) join_pairs<kTokens>(jobs, tail, group, n, pairs[turn_of(group)]);
  }
  device::wait_for_copies<0>();
  if (tail.norm.x == nullptr || !device::last_to_arrive(tail.arrived, gridDim.x)) return;
  norm_behind(tail.norm, device::dynamic_shared<float>());
}

// Shared: gemv_shared of the step, then pairs_shared.
template <class F, int kTokens>
__global__ void __launch_bounds__(kGemvThreads, kGemvBlocks<kTokens>)
    gemv_kernel(const SKV_GRID_CONSTANT GemvJobs jobs, QuantRows x, int n,
                const SKV_GRID_CONSTANT GemvTail tail) {
  gemv_rows<QuantStep<F>, kTokens>(jobs, {x, jobs.job[0].w.cols}, n, tail);
}
template <FloatKind kind, int kTokens>
__global__ void __launch_bounds__(kGemvThreads, kGemvBlocks<kTokens>)
    gemv_floats_kernel(const SKV_GRID_CONSTANT GemvJobs jobs, const float* x, std::int64_t x_stride, int n,
                       const SKV_GRID_CONSTANT GemvTail tail) {
  gemv_rows<FloatStep<kind>, kTokens>(jobs, {x, x_stride, static_cast<int>(jobs.job[0].w.cols)}, n, tail);
}

}  // namespace spectralkv::cuda
