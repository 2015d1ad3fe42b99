// What stands behind attention: the states of a context's pieces joined, and values out of codec space.
#pragma once

#include "cuda/device/arrivals.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/kv/attend.h"

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

// Rows that a block of threads joins together. Shared memory for them, in floats, in this order: what is
// sealed [d, kJoinRows], the same out of codec space, what is exact [kJoinRows, d], and of each row the sum
// of probabilities that are sealed, and of all.
constexpr int kJoinRows = 8;
SKV_HD constexpr int join_floats(int d) {
  return 3 * kJoinRows * d + 2 * kJoinRows;
}

// A warp's sum of the outputs of items [begin, end) of a row in rising order, relative to `top`; returns that
// of their probabilities, in every lane. put(c, value): channel c, of this lane.
template <class Put>
__device__ __forceinline__ float join_items(const AttendArgs& args, int pair, int row, int begin, int end,
                                            float top, const Put& put) {
  constexpr int kPairs = 4;  // of channels, 64 apart: head dims go up to 256
  const int d = args.layer.d, lane = static_cast<int>(threadIdx.x) % 32;
  float2 sums[kPairs];
  SKV_UNROLL
  for (float2& sum : sums) sum = make_float2(0, 0);
  float total = 0;
  for (int first = begin; first < end; first += 32) {
    const int count = end - first < 32 ? end - first : 32;
    float2 own = make_float2(-INFINITY, 0);  // the largest logit and the sum of item first + lane
    if (lane < count)
      own = *reinterpret_cast<const float2*>(args.states + args.state_at(pair, first + lane, row));
    const unsigned there = __ballot_sync(device::kAllLanes, own.x > -INFINITY);
    const float weight = device::fast_exp(own.x - top);
    SKV_UNROLL_SOME
    for (int i = 0; i < count; ++i) {  // no branch ahead of the loads: those of some items go together
      const float* const out = args.states + args.state_at(pair, first + i, row) + 2;
      const bool is_there = (there >> i & 1u) != 0;
      const float share = __shfl_sync(device::kAllLanes, weight, i),
                  sum = __shfl_sync(device::kAllLanes, own.y, i);
      total += is_there ? sum * share : 0.0f;
      SKV_UNROLL
      for (int p = 0; p < kPairs; ++p) {
        const int c = 64 * p + 2 * lane;
        if (c >= d) continue;
        const float2 two = *reinterpret_cast<const float2*>(out + c);
        sums[p].x += is_there ? two.x * share : 0.0f;
        sums[p].y += is_there ? two.y * share : 0.0f;
      }
    }
  }
  SKV_UNROLL
  for (int p = 0; p < kPairs; ++p) {
    const int c = 64 * p + 2 * lane;
    if (c >= d) continue;
    put(c, sums[p].x);
    put(c + 1, sums[p].y);
  }
  return total;
}

// What rows [first_row, first_row + count) of a pair attend to, from the states of all items, into
// args.joined. All threads of a block. shared: join_floats(d) floats, at a multiple of 16 bytes.
__device__ inline void join_rows(const AttendArgs& args, int pair, int first_row, int count, float* shared) {
  const int d = args.layer.d, head = args.head_of(pair), thread = static_cast<int>(threadIdx.x),
            warp = thread / 32, lane = thread % 32;
  const PartView& part = args.part_of(pair);
  const int items = part.sealed_items + part.exact_items;
  float* const sealed = shared;
  float* const left = sealed + kJoinRows * d;
  float* const exact = left + kJoinRows * d;
  float* const sealed_sums = exact + kJoinRows * d;
  float* const sums = sealed_sums + kJoinRows;
  for (int r = warp; r < kJoinRows; r += kWarps) {
    if (r >= count) {  // the products below take all rows along
      for (int c = lane; c < d; c += 32) sealed[c * kJoinRows + r] = 0;
      continue;
    }
    const int row = first_row + r;
    float top = -INFINITY;
    for (int item = lane; item < items; item += 32)
      top = fmaxf(top, args.states[args.state_at(pair, item, row)]);
    top = device::warp_max(top);
    const float of_sealed = join_items(args, pair, row, 0, part.sealed_items, top,
                                       [&](int c, float value) { sealed[c * kJoinRows + r] = value; });
    const float of_exact = join_items(args, pair, row, part.sealed_items, items, top,
                                      [&](int c, float value) { exact[r * d + c] = value; });
    if (lane == 0) sealed_sums[r] = of_sealed, sums[r] = of_sealed + of_exact;
  }
  __syncthreads();
  const float* const matrix = args.layer.side[1].leave.of(head);
  for (int c = thread; matrix != nullptr && c < d; c += kThreads) {
    float out[kJoinRows];
    SKV_UNROLL
    for (float& x : out) x = 0;
    for (int j = 0; j < d; ++j) {
      const float weight = matrix[j * d + c];
      const auto* const rows = reinterpret_cast<const float4*>(sealed + j * kJoinRows);
      SKV_UNROLL
      for (int four = 0; four < kJoinRows / 4; ++four) {
        const float4 x = rows[four];
        out[4 * four] += x.x * weight;
        out[4 * four + 1] += x.y * weight;
        out[4 * four + 2] += x.z * weight;
        out[4 * four + 3] += x.w * weight;
      }
    }
    SKV_UNROLL
    for (int r = 0; r < kJoinRows; ++r) left[c * kJoinRows + r] = out[r];
  }
  __syncthreads();
  const JoinedRows& to = args.joined;
  const int chunks = (d + 31) / 32;
  for (int i = warp; i < count * chunks; i += kWarps) {
    const int r = i / chunks, row = first_row + r, c = i % chunks * 32 + lane;
    if (c >= d) continue;  // whole warps where values are rounded
    const float* const outside = matrix != nullptr && sealed_sums[r] > 0 ? left : sealed;
    const float value = (outside[c * kJoinRows + r] + exact[r * d + c]) / sums[r];
    const std::int64_t at =
        (part.first + row / args.group) * to.stride + (head * args.group + row % args.group) * d + c;
    to.data[at] = value;
    if (to.rounded.codes != nullptr) cuda::put_quantised(value, at / 32 * 32, to.rounded);
  }
}

// Behind the states of an item, at the end of a kernel whose grid is (items, pairs, rows / rows of a block):
// the last block of threads of a pair's rows joins them, kJoinRows at a time, if this launch is to. shared:
// as for join_rows; all threads call.
__device__ __forceinline__ void join_if_last(const AttendArgs& args, int pair, int first_row, int count,
                                             float* shared) {
  if (args.joined.arrived == nullptr) return;
  if (!device::last_to_arrive(args.joined.arrived + pair * gridDim.z + blockIdx.z, gridDim.x)) return;
  join_rows(args, pair, first_row, count, shared);
}

// Of a prompt, whose states several launches make. Grid: rows / kJoinRows, pairs.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) merge_states(const SKV_GRID_CONSTANT AttendArgs args) {
  device::wait_for_earlier();
  device::let_next_start();
  const int first_row = static_cast<int>(blockIdx.x) * kJoinRows, rest = args.rows - first_row;
  join_rows(args, static_cast<int>(blockIdx.y), first_row, rest < kJoinRows ? rest : kJoinRows,
            device::dynamic_shared<float>());
}

}  // namespace spectralkv::device_kv
