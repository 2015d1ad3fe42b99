// What stands before attention: rows into the ring, queries into codec space; for one token both, and RoPE,
// in one launch.
#pragma once

#include "cuda/kv/attend.h"
#include "cuda/kv/attend_ends.cuh"

namespace spectralkv::device_kv {

// Where a row is not what the exact type holds: 1 + (((token 2 + side) layers' + layer) heads + head).
SKV_HD inline unsigned long long fault_code(std::int64_t token, int side, int layer, int heads, int head) {
  return 1 +
         ((static_cast<unsigned long long>(token) * 2 + static_cast<unsigned>(side)) * 65536 +
          static_cast<unsigned>(layer)) *
             static_cast<unsigned>(heads) +
         static_cast<unsigned>(head);
}

// Channel c of the token at position t.
__device__ __forceinline__ void append_value(const LayerView& layer, const StoreView& store, int which,
                                             int head, std::int64_t t, int c, float value) {
  const StoreView::Side& side = store.side[which];
  const bool f32 = layer.side[which].exact_f32;
  const float limit = f32 ? 3.4028235e38f : 65504.0f;
  if (!(fabsf(value) <= limit))
    atomicCAS(store.fault, 0ull, fault_code(t, which, layer.layer, layer.heads, head));
  const std::int64_t at = (head * store.ring_tokens + t % store.ring_tokens) * layer.d + c;
  const std::int64_t sink_at = (head * layer.sink + t) * layer.d + c;
  if (f32) {
    reinterpret_cast<float*>(side.ring)[at] = value;
    if (t < layer.sink) reinterpret_cast<float*>(side.sinks)[sink_at] = value;
  } else {
    const std::uint16_t half = device::f32_to_f16(value);
    reinterpret_cast<std::uint16_t*>(side.ring)[at] = half;
    if (t < layer.sink) reinterpret_cast<std::uint16_t*>(side.sinks)[sink_at] = half;
  }
}

// k, v: [n, heads * d], rows ld apart. Grid: n tokens, K and V.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    append_rows(const SKV_GRID_CONSTANT LayerView layer, const SKV_GRID_CONSTANT StoreView store,
                const float* k, std::int64_t ldk, const float* v, std::int64_t ldv) {
  const int which = static_cast<int>(blockIdx.y), d = layer.d;
  const std::int64_t token = blockIdx.x, t = *store.position + token;
  const float* const from = which == 0 ? k + token * ldk : v + token * ldv;
  for (int i = static_cast<int>(threadIdx.x); i < layer.heads * d; i += kThreads)
    append_value(layer, store, which, i / d, t, i % d, from[i]);
}

// Where queries go (AttendArgs has the same to read).
struct EnteredQueries {
  float *plain, *entered;
  std::int8_t* bytes;
  float* steps;
};

// A query row of a pair, value(c) its channels, scaled. All threads of a block.
template <class Value>
__device__ __forceinline__ void enter_row(const AttendArgs& args, int pair, int row, const Value& value,
                                          const EnteredQueries& to) {
  const int d = args.layer.d, thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const std::int64_t at = static_cast<std::int64_t>(pair) * args.rows + row;
  float* const x = device::dynamic_shared<float>();  // [d] plain, [d] entered, [warps]
  float* const y = x + d;
  float* const tops = y + d;
  for (int c = thread; c < d; c += kThreads) {
    x[c] = value(c);
    to.plain[at * d + c] = x[c];
  }
  __syncthreads();
  const float* const matrix = args.layer.side[0].enter.of(args.head_of(pair));
  if (matrix == nullptr)
    for (int c = thread; c < d; c += kThreads) y[c] = x[c];
  else
    rotate_row(x, matrix, d, [&](int c, float entered) { y[c] = entered; });
  __syncthreads();
  float top = 0;
  for (int c = thread; c < d; c += kThreads) {
    to.entered[at * d + c] = y[c];
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
    to.bytes[at * stride + c] = static_cast<std::int8_t>(c < d ? __float2int_rn(y[c] * inverse) : 0);
  if (thread == 0) to.steps[at] = top / 127.0f;
}
// Bytes of shared memory of enter_row.
inline std::size_t enter_shared(int d) {
  return static_cast<std::size_t>(2 * d + kWarps) * sizeof(float);
}

// Of a part of several tokens. q: [tokens of the step, heads * group * d], rows ldq apart. Grid: rows, pairs.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    enter_queries(const SKV_GRID_CONSTANT AttendArgs args, const float* q, std::int64_t ldq, float scale,
                  EnteredQueries to) {
  const int row = static_cast<int>(blockIdx.x), pair = static_cast<int>(blockIdx.y);
  const float* const from = q + (args.part_of(pair).first + row / args.group) * ldq +
                            (args.head_of(pair) * args.group + row % args.group) * args.layer.d;
  enter_row(
      args, pair, row, [&](int c) { return from[c] * scale; }, to);
}

// Rows of a step before RoPE: q [tokens, heads * group * d], k and v [tokens, heads * d], rows ld apart, and
// the angles' cosines and sines [tokens, dims] as linalg/rope.h has them. Behind RoPE: dims is 0.
struct UnturnedRows {
  const float *q, *k, *v;
  std::int64_t ldq, ldk, ldv;
  const float* cos_sin;
  int dims;
};
// Channel c of a head x, by the angles of its token.
__device__ __forceinline__ float turned(const float* x, int c, const float* cos_sin, int dims) {
  if (c >= dims) return x[c];
  const int even = c / 2 * 2;
  const float cosine = cos_sin[even], sine = cos_sin[even + 1];
  return c == even ? x[even] * cosine - x[c + 1] * sine : x[even] * sine + x[c] * cosine;
}

static_assert(sizeof(AttendArgs) + sizeof(UnturnedRows) + sizeof(EnteredQueries) + 8 <= 4096,
              "arguments of a kernel");

// RoPE, append_rows and enter_queries of parts of one token. Grid: the group's query rows, K and V; pairs.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) take_in(const SKV_GRID_CONSTANT AttendArgs args,
                                                    const UnturnedRows rows, float scale, EnteredQueries to) {
  device::wait_for_earlier();
  device::let_next_start();
  const int d = args.layer.d, row = static_cast<int>(blockIdx.x), pair = static_cast<int>(blockIdx.y),
            head = args.head_of(pair);
  const PartView& part = args.part_of(pair);
  const std::int64_t token = part.first;
  const float* const cos_sin = rows.cos_sin + token * rows.dims;
  if (row < args.group) {
    const float* const q = rows.q + token * rows.ldq + static_cast<std::int64_t>(head * args.group + row) * d;
    enter_row(
        args, pair, row, [&](int c) { return turned(q, c, cos_sin, rows.dims) * scale; }, to);
    return;
  }
  const int which = row - args.group;
  const float* const from = (which == 0 ? rows.k + token * rows.ldk : rows.v + token * rows.ldv) +
                            static_cast<std::int64_t>(head) * d;
  for (int c = static_cast<int>(threadIdx.x); c < d; c += kThreads)
    append_value(args.layer, part.store, which, head, *part.store.position, c,
                 which == 0 ? turned(from, c, cos_sin, rows.dims) : from[c]);
}

}  // namespace spectralkv::device_kv
