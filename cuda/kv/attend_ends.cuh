// What stands around attention: taking rows in, queries into codec space, and the merging of states.
#pragma once

#include "cuda/kv/attend.h"
#include "cuda/kv/attend_plain.cuh"

namespace spectralkv::device_kv {

// out[c] = sum over j of x[j] matrix[j, c], for this thread's channels. x in shared memory.
template <class Store>
__device__ inline void rotate_row(const float* x, const float* matrix, int d, const Store& store) {
  for (int c = static_cast<int>(threadIdx.x); c < d; c += static_cast<int>(blockDim.x)) {
    float sum = 0;
    for (int j = 0; j < d; ++j) sum += x[j] * matrix[j * d + c];
    store(c, sum);
  }
}

// Where a row is not what the exact type holds: 1 + (((token 2 + side) layers' + layer) heads + head).
SKV_HD inline unsigned long long fault_code(std::int64_t token, int side, int layer, int heads, int head) {
  return 1 +
         ((static_cast<unsigned long long>(token) * 2 + static_cast<unsigned>(side)) * 65536 +
          static_cast<unsigned>(layer)) *
             static_cast<unsigned>(heads) +
         static_cast<unsigned>(head);
}

// k, v: [n, heads * d], rows ld apart. Grid: n tokens, K and V.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    append_rows(const SKV_GRID_CONSTANT LayerView layer, const float* k, std::int64_t ldk, const float* v,
                std::int64_t ldv) {
  const int which = static_cast<int>(blockIdx.y), d = layer.d;
  const SideView& side = layer.side[which];
  const std::int64_t token = blockIdx.x, t = *layer.position + token;
  const float* const from = which == 0 ? k + token * ldk : v + token * ldv;
  const float limit = side.exact_f32 ? 3.4028235e38f : 65504.0f;
  for (int i = static_cast<int>(threadIdx.x); i < layer.heads * d; i += kThreads) {
    const int head = i / d, c = i % d;
    const float value = from[i];
    if (!(fabsf(value) <= limit))
      atomicCAS(layer.fault, 0ull, fault_code(t, which, layer.layer, layer.heads, head));
    const std::int64_t at = (head * layer.ring_tokens + t % layer.ring_tokens) * d + c;
    const std::int64_t sink_at = (head * layer.sink + t) * d + c;
    if (side.exact_f32) {
      reinterpret_cast<float*>(side.ring)[at] = value;
      if (t < layer.sink) reinterpret_cast<float*>(side.sinks)[sink_at] = value;
    } else {
      const std::uint16_t half = device::f32_to_f16(value);
      reinterpret_cast<std::uint16_t*>(side.ring)[at] = half;
      if (t < layer.sink) reinterpret_cast<std::uint16_t*>(side.sinks)[sink_at] = half;
    }
  }
}

// q: [tokens, heads * group * d], rows ldq apart. Fills plain, entered, bytes and steps. Grid: rows, KV
// heads.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    enter_queries(const SKV_GRID_CONSTANT AttendArgs args, const float* q, std::int64_t ldq, float scale,
                  float* plain, float* entered, std::int8_t* bytes, float* steps) {
  const int d = args.layer.d, row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const std::int64_t at = static_cast<std::int64_t>(head) * args.rows + row;
  const float* const from = q + row / args.group * ldq + (head * args.group + row % args.group) * d;
  float* const x = device::dynamic_shared<float>();  // [d] plain, [d] entered, [warps]
  float* const y = x + d;
  float* const tops = y + d;
  for (int c = thread; c < d; c += kThreads) {
    x[c] = from[c] * scale;
    plain[at * d + c] = x[c];
  }
  __syncthreads();
  const float* const matrix = args.layer.side[0].enter.of(head);
  if (matrix == nullptr)
    for (int c = thread; c < d; c += kThreads) y[c] = x[c];
  else
    rotate_row(x, matrix, d, [&](int c, float value) { y[c] = value; });
  __syncthreads();
  float top = 0;
  for (int c = thread; c < d; c += kThreads) {
    entered[at * d + c] = y[c];
    top = fmaxf(top, fabsf(y[c]));
  }
  top = device::warp_max(top);
  if (thread % 32 == 0) tops[warp] = top;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) top = fmaxf(top, tops[w]);
  top = fmaxf(top, 1e-30f);
  const float inverse = 127.0f / top;
  const int stride = byte_stride(d);
  for (int c = thread; c < stride; c += kThreads)
    bytes[at * stride + c] = static_cast<std::int8_t>(c < d ? __float2int_rn(y[c] * inverse) : 0);
  if (thread == 0) steps[at] = top / 127.0f;
}

// out[c] = sum over items [begin, end) of the states' outputs, relative to `top`; returns the sum of
// probabilities.
__device__ inline float merge_items(const AttendArgs& args, int head, int row, int begin, int end, float top,
                                    float* out) {
  const int d = args.layer.d;
  for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) {
    float sum = 0;
    for (int item = begin; item < end; ++item) {
      const float* const state = args.states + args.state_at(head, item, row);
      if (state[0] > -INFINITY) sum += state[2 + c] * device::fast_exp(state[0] - top);
    }
    out[c] = sum;
  }
  float total = 0;
  for (int item = begin; item < end; ++item) {
    const float* const state = args.states + args.state_at(head, item, row);
    if (state[0] > -INFINITY) total += state[1] * device::fast_exp(state[0] - top);
  }
  return total;
}

// out: [tokens, heads * group * d], rows ldo apart. Grid: rows, KV heads.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    merge_states(const SKV_GRID_CONSTANT AttendArgs args, float* out, std::int64_t ldo) {
  const int d = args.layer.d, row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  const int items = args.sealed_items + args.exact_items;
  float* const sealed = device::dynamic_shared<float>();  // [d], [d] left codec space, [d]
  float* const left = sealed + d;
  float* const exact = left + d;
  float top = -INFINITY;
  for (int item = 0; item < items; ++item) top = fmaxf(top, args.states[args.state_at(head, item, row)]);
  const float sealed_sum = merge_items(args, head, row, 0, args.sealed_items, top, sealed);
  const float sum = sealed_sum + merge_items(args, head, row, args.sealed_items, items, top, exact);
  __syncthreads();
  const float* const matrix = args.layer.side[1].leave.of(head);
  if (matrix != nullptr && sealed_sum > 0) {
    rotate_row(sealed, matrix, d, [&](int c, float value) { left[c] = value; });
  } else {
    for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) left[c] = sealed[c];
  }
  float* const to = out + row / args.group * ldo + (head * args.group + row % args.group) * d;
  for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads) to[c] = (left[c] + exact[c]) / sum;
}

}  // namespace spectralkv::device_kv
