// RMSNorm with the residual's addition, RoPE, SwiGLU, scales and bias. Those before a product can give its
// input in 8 bits as well, which saves a launch.
#pragma once

#include "cuda/ops/activations.cuh"

namespace spectralkv::cuda {

// One block a row of [n, cols]: x += y where y is given, then out = x / rms(x) * gain; out may be y. Where
// `quantised` has memory, cols is a multiple of 32. Strides in values.
struct NormArgs {
  float* x;
  const float* y;  // or null
  const float* gain;
  float* out;
  std::int64_t cols, x_stride, y_stride, out_stride;
  float eps;
  QuantRows quantised;
};

template <int>
__global__ void rms_norm_kernel(NormArgs a) {
  device::wait_for_earlier();
  device::let_next_start();
  __shared__ float part[32];
  float* const x = a.x + blockIdx.x * a.x_stride;
  float squares = 0;
  for (std::int64_t c = threadIdx.x; c < a.cols; c += blockDim.x) {
    float value = x[c];
    if (a.y != nullptr) x[c] = value += a.y[blockIdx.x * a.y_stride + c];
    squares += value * value;
  }
  const float scale = rsqrtf(device::block_sum(squares, part) / static_cast<float>(a.cols) + a.eps);
  float* const out = a.out + blockIdx.x * a.out_stride;
  for (std::int64_t c = threadIdx.x; c < a.cols; c += blockDim.x) {
    const float value = x[c] * scale * a.gain[c];
    out[c] = value;
    if (a.quantised.codes != nullptr)
      put_quantised(value, (static_cast<std::int64_t>(blockIdx.x) * a.cols + c) / 32 * 32, a.quantised);
  }
}

// The same of a single row by one block of kTailThreads, bit for bit what rms_norm_kernel gives with
// kNormThreads: a thread has four values side by side in place of one, and each sum of squares is added to
// the others in the order that theirs has. cols and strides are multiples of 4, of 32 where `quantised` has
// memory. part: kNormThreads / 32 floats in shared memory.
inline constexpr int kNormThreads = 1024, kTailThreads = 128;
__device__ inline void norm_behind(const NormArgs& a, float* part) {
  constexpr int kTurn = 4 * kTailThreads, kTurns = kNormThreads / kTurn;
  const int thread = static_cast<int>(threadIdx.x);
  float* const x = a.x;
  const float* const y = a.y;
  // x and y may be the same memory as far as a compiler knows: what a thread reads before it writes is read
  // at once.
  float squares[kTurns][4] = {};
  for (std::int64_t first = 4 * thread; first < a.cols; first += kTurns * kTurn) {
    float4 values[kTurns] = {}, more[kTurns] = {};
    SKV_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      const std::int64_t c = first + i * kTurn;
      if (c >= a.cols) continue;
      values[i] = *reinterpret_cast<const float4*>(x + c);
      more[i] = *reinterpret_cast<const float4*>(y + c);
    }
    SKV_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      const std::int64_t c = first + i * kTurn;
      if (c >= a.cols) continue;
      const float4 value = make_float4(values[i].x + more[i].x, values[i].y + more[i].y,
                                       values[i].z + more[i].z, values[i].w + more[i].w);
      *reinterpret_cast<float4*>(x + c) = value;
      float(&to)[4] = squares[i];
      to[0] += value.x * value.x;
      to[1] += value.y * value.y;
      to[2] += value.z * value.z;
      to[3] += value.w * value.w;
    }
  }
  __syncthreads();
  SKV_UNROLL
  for (int turn = 0; turn < kTurns; ++turn) {
    SKV_UNROLL
    for (float& sum : squares[turn])
      for (int step = 4; step > 0; step /= 2) sum += __shfl_xor_sync(device::kAllLanes, sum, step);
    if (thread % 8 == 0)
      part[(turn * kTurn + 4 * thread) / 32] =
          (squares[turn][0] + squares[turn][2]) + (squares[turn][1] + squares[turn][3]);
  }
  __syncthreads();
  float sum = part[0];
  for (int w = 1; w < kNormThreads / 32; ++w) sum += part[w];
  const float scale = rsqrtf(sum / static_cast<float>(a.cols) + a.eps);
  for (std::int64_t first = 0; first < a.cols; first += kTurns * kTurn) {
    float4 values[kTurns] = {}, gains[kTurns] = {};
    SKV_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      const std::int64_t c = first + i * kTurn + 4 * thread;
      if (c >= a.cols) continue;
      values[i] = *reinterpret_cast<const float4*>(x + c);
      gains[i] = *reinterpret_cast<const float4*>(a.gain + c);
    }
    SKV_UNROLL
    for (int i = 0; i < kTurns; ++i) {
      const std::int64_t c = first + i * kTurn + 4 * thread;
      const bool there = c < a.cols;
      float four[4] = {};
      if (there) {
        four[0] = values[i].x * scale * gains[i].x, four[1] = values[i].y * scale * gains[i].y;
        four[2] = values[i].z * scale * gains[i].z, four[3] = values[i].w * scale * gains[i].w;
        *reinterpret_cast<float4*>(a.out + c) = make_float4(four[0], four[1], four[2], four[3]);
      }
      if (a.quantised.codes != nullptr && first + i * kTurn < a.cols)
        put_quantised_four(four, there, c, a.quantised);
    }
  }
}

// Turns the first `dims` values of each head of q and k; one thread a pair. cos_sin [n, dims], rows without
// gaps as linalg/rope.h has them.
struct RopeArgs {
  float *q = nullptr, *k = nullptr;
  std::int64_t n = 0, q_heads = 0, k_heads = 0, head_dim = 0, dims = 0, q_stride = 0, k_stride = 0;
  const float* cos_sin = nullptr;
};

template <int>
__global__ void rope_kernel(RopeArgs a) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t pairs = a.dims / 2, heads = a.q_heads + a.k_heads;
  if (i >= a.n * heads * pairs) return;
  const std::int64_t pair = i % pairs, head = i / pairs % heads, t = i / pairs / heads;
  float* const x = head < a.q_heads ? a.q + t * a.q_stride + head * a.head_dim
                                    : a.k + t * a.k_stride + (head - a.q_heads) * a.head_dim;
  const float c = a.cos_sin[t * a.dims + 2 * pair], s = a.cos_sin[t * a.dims + 2 * pair + 1];
  const float x0 = x[2 * pair], x1 = x[2 * pair + 1];
  x[2 * pair] = x0 * c - x1 * s;
  x[2 * pair + 1] = x0 * s + x1 * c;
}

__device__ __forceinline__ float silu_mul(float gate, float up) {
  return gate / (1.0f + device::fast_exp(-gate)) * up;
}
// gate = silu(gate) * up, both [n, cols] without gaps; one thread a value. As for the norm, `quantised`
// needs cols in multiples of 32.
template <int>
__global__ void silu_mul_kernel(float* gate, const float* up, std::int64_t values, QuantRows quantised) {
  device::wait_for_earlier();
  device::let_next_start();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= values) return;
  const float value = silu_mul(gate[i], up[i]);
  gate[i] = value;
  if (quantised.codes != nullptr) put_quantised(value, i / 32 * 32, quantised);
}

// x[t] *= factor, and by_row[t] where that is given; one thread a value of x [n, cols].
template <int>
__global__ void scale_kernel(float* x, std::int64_t n, std::int64_t cols, std::int64_t stride, float factor,
                             const float* by_row) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * cols) return;
  x[i / cols * stride + i % cols] *= by_row != nullptr ? factor * by_row[i / cols] : factor;
}

// y[t][r] += bias[r]; one thread a value of y [n, cols].
template <int>
__global__ void add_bias_kernel(float* y, std::int64_t n, std::int64_t cols, std::int64_t stride,
                                const float* bias) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < n * cols) y[i / cols * stride + i % cols] += bias[i % cols];
}

}  // namespace spectralkv::cuda
