// Activations rounded to 8 bits, with a scale for every 32 values: what products with quantised weights take.
#pragma once

#include <cstdint>

#include "cuda/device/reduce.cuh"

namespace spectralkv::cuda {

// The scale of 32 values, and the sums of the first and of the last 16 codes, in the low and the high half.
struct alignas(8) GroupScale {
  float scale;
  std::uint32_t sums;
};

// Rows of such values; a group is 32 of them.
struct QuantRows {
  std::int8_t* codes = nullptr;  // [n, cols]
  GroupScale* scales = nullptr;  // [n, cols / 32]
};

// The lanes of a warp bring 32 values side by side, the first at `at`, counted over all rows; at is a
// multiple of 32.
__device__ __forceinline__ void put_quantised(float value, std::int64_t at, const QuantRows& to) {
  const unsigned lane = threadIdx.x % 32;
  const float most = device::warp_max(fabsf(value));
  const float scale = most / 127.0f;
  const int code = most > 0 ? __float2int_rn(value / scale) : 0;
  int sum = code;
  for (int step = 8; step > 0; step /= 2) sum += __shfl_xor_sync(device::kAllLanes, sum, step);
  const int last = __shfl_sync(device::kAllLanes, sum, 16);
  to.codes[at + lane] = static_cast<std::int8_t>(code);
  if (lane == 0)
    to.scales[at / 32] = {
        scale, (static_cast<std::uint32_t>(sum) & 0xffffu) | static_cast<std::uint32_t>(last) << 16};
}

// The same of four values a lane, the first at `at`: eight lanes have 32. All lanes call; those with nothing,
// eight side by side, are not `there`.
__device__ __forceinline__ void put_quantised_four(const float (&four)[4], bool there, std::int64_t at,
                                                   const QuantRows& to) {
  const unsigned lane = threadIdx.x % 8;
  float most = 0;
  SKV_UNROLL
  for (const float value : four) most = fmaxf(most, fabsf(value));
  for (int step = 4; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(device::kAllLanes, most, step));
  const float scale = most / 127.0f;
  std::uint32_t codes = 0;
  int sum = 0;
  SKV_UNROLL
  for (int i = 0; i < 4; ++i) {
    const int code = most > 0 ? __float2int_rn(four[i] / scale) : 0;
    codes |= (static_cast<std::uint32_t>(code) & 0xffu) << 8 * i;
    sum += code;
  }
  for (int step = 2; step > 0; step /= 2) sum += __shfl_xor_sync(device::kAllLanes, sum, step);
  const int last = __shfl_xor_sync(device::kAllLanes, sum, 4);  // of lane 0: the last 16
  if (!there) return;
  *reinterpret_cast<std::uint32_t*>(to.codes + at) = codes;
  if (lane == 0)
    to.scales[at / 32] = {
        scale, (static_cast<std::uint32_t>(sum) & 0xffffu) | static_cast<std::uint32_t>(last) << 16};
}

// x [n, cols], rows `stride` values apart, cols a multiple of 32; one thread a value.
template <int>
__global__ void quantise_kernel(const float* x, std::int64_t n, std::int64_t cols, std::int64_t stride,
                                QuantRows to) {
  device::wait_for_earlier();
  device::let_next_start();
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= n * cols) return;  // whole warps
  put_quantised(x[i / cols * stride + i % cols], i / 32 * 32, to);
}

// What is beyond f16 becomes its largest value.
enum class Narrow { f16, bf16 };
template <Narrow kind>
__device__ __forceinline__ std::uint16_t narrow(float value) {
  if constexpr (kind == Narrow::bf16) return device::f32_to_bf16(value);
  constexpr float kMost = 65504.0f;
  return device::f32_to_f16(value > kMost ? kMost : value < -kMost ? -kMost : value);  // NaN stays
}

// x as f16 or bf16, [n, cols] without gaps; one thread eight values. wide: cols is a multiple of 8, and rows
// of x begin at multiples of 16 bytes.
template <Narrow kind, bool wide>
__global__ void narrow_kernel(const float* x, std::int64_t n, std::int64_t cols, std::int64_t stride,
                              std::uint16_t* to) {
  const std::int64_t i = (static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
  if (i >= n * cols) return;
  if constexpr (wide) {
    const auto* const fours = reinterpret_cast<const float4*>(x + i / cols * stride + i % cols);
    const float4 a = fours[0], b = fours[1];
    const auto pair = [](float low, float high) {
      return narrow<kind>(low) | static_cast<std::uint32_t>(narrow<kind>(high)) << 16;
    };
    *reinterpret_cast<uint4*>(to + i) =
        make_uint4(pair(a.x, a.y), pair(a.z, a.w), pair(b.x, b.y), pair(b.z, b.w));
  } else {
    for (std::int64_t at = i; at < i + 8 && at < n * cols; ++at)
      to[at] = narrow<kind>(x[at / cols * stride + at % cols]);
  }
}

}  // namespace spectralkv::cuda
