// Rows of a weight matrix as f32 or f16: tiles for products with many tokens, and the embedding of tokens.
#pragma once

#include "cuda/weights/planes.h"

namespace spectralkv::cuda {

// Which rows: n from `first` on, or those that `list` names, in its order.
struct RowChoice {
  std::int64_t first = 0, n = 0;
  const std::int32_t* list = nullptr;  // [n] in device memory

  __device__ __forceinline__ std::int64_t operator()(std::int64_t i) const {
    return list != nullptr ? list[i] : first + i;
  }
};

__device__ __forceinline__ void put_value(float* to, float value) {
  *to = value;
}
__device__ __forceinline__ void put_value(std::uint16_t* to, float value) {
  *to = device::f32_to_f16(value);
}
// Eight values, stored 16 bytes at a time.
__device__ __forceinline__ void put_eight(float* to, const float (&x)[8]) {
  auto* const fours = reinterpret_cast<float4*>(to);
  fours[0] = make_float4(x[0], x[1], x[2], x[3]);
  fours[1] = make_float4(x[4], x[5], x[6], x[7]);
}
__device__ __forceinline__ void put_eight(std::uint16_t* to, const float (&x)[8]) {
  *reinterpret_cast<uint4*>(to) =
      make_uint4(device::f32x2_to_f16x2(x[0], x[1]), device::f32x2_to_f16x2(x[2], x[3]),
                 device::f32x2_to_f16x2(x[4], x[5]), device::f32x2_to_f16x2(x[6], x[7]));
}

// The four values of quad `quad` (0 to 7) of 32 values; both factors are applied as formats/ does it.
template <class F>
__device__ __forceinline__ void quad_values(const Planes& w, std::int64_t chunk, int quad, float* out) {
  const std::uint32_t codes =
      quad_codes<F>(w.main + chunk * F::kMainWords, w.high + chunk * F::kHighWords, quad);
  const Affine a = group_affine<F>(read_scales<F>(w, chunk), quad / (F::kGroup / 4));
  for (int i = 0; i < 4; ++i) {
    const auto byte = static_cast<int>(codes >> (8 * i) & 255u);
    const int code = F::kMain == 8 || F::Table::kAny ? static_cast<std::int8_t>(byte) : byte - F::kOffset;
    const float product = a.scale * static_cast<float>(code);
    out[i] = F::kMinimum ? product - a.minimum : product;
  }
}

// out [rows.n, stride], at a multiple of 16 bytes, stride a multiple of 8; one thread two quads.
template <class F, class Out>
__global__ void dequantise_kernel(Planes w, RowChoice rows, Out* out, std::int64_t stride) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const std::int64_t eights = w.cols / 8;
  if (i >= rows.n * eights) return;
  const std::int64_t r = i / eights, at = i % eights, chunk = rows(r) * (w.cols / 32) + at / 4;
  const int quad = static_cast<int>(at % 4) * 2;
  float values[8];
  quad_values<F>(w, chunk, quad, values);
  quad_values<F>(w, chunk, quad + 1, values + 4);
  put_eight(out + r * stride + 8 * at, values);
}

enum class FloatKind { f32, f16, bf16 };
constexpr FloatKind float_kind(const skv_block_f32*) {
  return FloatKind::f32;
}
constexpr FloatKind float_kind(const skv_block_f16*) {
  return FloatKind::f16;
}
constexpr FloatKind float_kind(const skv_block_bf16*) {
  return FloatKind::bf16;
}
template <class Block>
inline constexpr FloatKind kFloatKind = float_kind(static_cast<const Block*>(nullptr));

template <FloatKind kind>
__device__ __forceinline__ float float_value(const Planes& w, std::int64_t at) {
  if constexpr (kind == FloatKind::f32) return reinterpret_cast<const float*>(w.main)[at];
  const std::uint16_t bits = reinterpret_cast<const std::uint16_t*>(w.main)[at];
  return kind == FloatKind::f16 ? device::f16_to_f32(bits) : device::bf16_to_f32(bits);
}

// The same of a matrix of floats; one thread a value.
template <FloatKind kind, class Out>
__global__ void copy_floats_kernel(Planes w, RowChoice rows, Out* out, std::int64_t stride) {
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= rows.n * w.cols) return;
  const std::int64_t r = i / w.cols, c = i % w.cols;
  put_value(out + r * stride + c, float_value<kind>(w, rows(r) * w.stride + c));
}

}  // namespace spectralkv::cuda
