// Attention by multiply and add, for every pair of codecs: a warp scores 32 tokens at a time, one a lane,
// then mixes them with channels over the lanes.
#pragma once

#include "cuda/codecs/codecs.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/kv/attend_ends.cuh"

namespace spectralkv::device_kv {

// Shared memory of a block, in floats: queries [G, d], probabilities [warps, G, 32], states [warps, G, d +
// 2]; then that of join_rows in their place.
SKV_HD inline int plain_shared_floats(int g, int d) {
  const int reading = g * d + kWarps * g * 32 + kWarps * g * (d + 2);
  return reading > join_floats(d) ? reading : join_floats(d);
}

// Merges the warps' states [warps, G, d + 2] in shared memory into the item's. count: rows in use.
__device__ inline void merge_warps(const AttendArgs& args, const float* states, int g, int count, int pair,
                                   int item, int first_row) {
  const int d = args.layer.d, stride = d + 2;
  for (int r = 0; r < count; ++r) {
    float top = -INFINITY;
    for (int w = 0; w < kWarps; ++w) top = fmaxf(top, states[(w * g + r) * stride]);
    float* const out = args.states + args.state_at(pair, item, first_row + r);
    for (int c = static_cast<int>(threadIdx.x); c < d + 1; c += kThreads) {  // 0: the sum
      float sum = 0;
      for (int w = 0; w < kWarps; ++w) {
        const float* const state = states + (w * g + r) * stride;
        if (state[0] > -INFINITY) sum += state[1 + c] * device::fast_exp(state[0] - top);
      }
      out[1 + c] = sum;
    }
    if (threadIdx.x == 0) out[0] = top;
  }
}

// The state of one warp: G rows, channels over the lanes.
template <int G>
struct PlainWarp {
  float top[G], sum[G], acc[G][8];
  float* probabilities;      // [G, 32]
  const float* q;            // [G, d]
  int chunks, beside, lane;  // of 8 channels; tokens side by side

  __device__ void start(const float* queries, float* p, int d) {
    q = queries;
    probabilities = p;
    lane = static_cast<int>(threadIdx.x) % 32;
    chunks = d / 8;
    beside = 32 / chunks;
    for (int r = 0; r < G; ++r) {
      top[r] = -INFINITY;
      sum[r] = 0;
      for (int i = 0; i < 8; ++i) acc[r][i] = 0;
    }
  }

  // Tokens [begin, end) of k and v. visible(r, token): whether row r sees it.
  template <class Visible>
  __device__ void read(const RowReader& k, const RowReader& v, int begin, int end, const Visible& visible) {
    const int d = k.d;
    for (int first = begin; first < end; first += 32) {
      const int token = first + lane, count = end - first < 32 ? end - first : 32;
      float s[G];
      for (int r = 0; r < G; ++r) s[r] = 0;
      if (token < end)
        for (int c = 0; c < d; c += 8) {
          float x[8];
          load8(k, token, c, x);
          SKV_UNROLL
          for (int r = 0; r < G; ++r)
            for (int i = 0; i < 8; ++i) s[r] += x[i] * q[r * d + c + i];
        }
      SKV_UNROLL
      for (int r = 0; r < G; ++r) {
        if (token >= end || !visible(r, token)) s[r] = -INFINITY;
        const float here = device::warp_max(s[r]), next = fmaxf(top[r], here);
        float p = 0;
        if (here > -INFINITY) {
          const float shrink = device::fast_exp(top[r] - next);  // 0 for the first
          for (int i = 0; i < 8; ++i) acc[r][i] *= shrink;
          p = device::fast_exp(s[r] - next);
          sum[r] = sum[r] * shrink + device::warp_sum(p);
          top[r] = next;
        }
        probabilities[r * 32 + lane] = p;
      }
      __syncwarp();
      if (lane < chunks * beside)
        for (int j = lane / chunks; j < count; j += beside) {
          float x[8];
          load8(v, first + j, lane % chunks * 8, x);
          SKV_UNROLL
          for (int r = 0; r < G; ++r)
            for (int i = 0; i < 8; ++i) acc[r][i] += probabilities[r * 32 + j] * x[i];
        }
      __syncwarp();
    }
  }

  // state: [G, d + 2] of this warp.
  __device__ void store(float* state, int d) {
    for (int r = 0; r < G; ++r) {
      if (lane == 0) {
        state[r * (d + 2)] = top[r];
        state[r * (d + 2) + 1] = sum[r];
      }
      for (int c = lane; c < d; c += 32) state[r * (d + 2) + 2 + c] = 0;
    }
    __syncwarp();
    for (int turn = 0; turn < beside; ++turn) {
      if (lane / chunks == turn)
        for (int r = 0; r < G; ++r)
          for (int i = 0; i < 8; ++i) state[r * (d + 2) + 2 + lane % chunks * 8 + i] += acc[r][i];
      __syncwarp();
    }
  }
};

// What a launch reads: sealed blocks, exact tokens, or the ones and behind them, by item, the others.
struct PlainPart {
  bool sealed, exact;
};

// An item of one kind, rows [first_row, first_row + count).
template <int G>
__device__ __forceinline__ void read_plain(const AttendArgs& args, bool exact, int pair, int item,
                                           int first_row, int count) {
  const LayerView& layer = args.layer;
  const int d = layer.d, head = args.head_of(pair), warp = static_cast<int>(threadIdx.x) / 32;
  const PartView& part = args.part_of(pair);
  const StoreView& store = part.store;
  const SideView &k = layer.side[0], &v = layer.side[1];
  float* const q = device::dynamic_shared<float>();
  float* const probabilities = q + G * d;
  float* const states = probabilities + kWarps * G * 32;
  const float* const from =
      (exact ? args.plain : args.entered) + (static_cast<std::int64_t>(pair) * args.rows + first_row) * d;
  for (int i = static_cast<int>(threadIdx.x); i < G * d; i += kThreads) q[i] = i < count * d ? from[i] : 0;
  __syncthreads();

  PlainWarp<G> state;
  state.start(q, probabilities + warp * G * 32, d);
  const std::int64_t t0 = args.position_of(part, first_row),
                     t1 = args.position_of(part, first_row + count - 1);
  if (exact) {
    const std::int64_t from_block = layer.sealed_for(t0) * layer.block;
    const int step = part.exact_items * kWarps;
    // Piece 0: the sinks. Others: 32 tokens of a block of the ring.
    const std::int64_t of_block = (layer.block + 31) / 32;
    for (std::int64_t piece = item * kWarps + warp;; piece += step) {
      if (piece == 0) {
        if (layer.sealed_for(t1) == 0 || layer.sink == 0) continue;
        const std::int64_t at = exact_bytes(k.exact_f32, head * layer.sink * d),
                           v_at = exact_bytes(v.exact_f32, head * layer.sink * d);
        const int n = static_cast<int>(layer.sink);
        state.read(read_exact(k.exact_f32, store.side[0].sinks + at, n, d),
                   read_exact(v.exact_f32, store.side[1].sinks + v_at, n, d), 0, n, [&](int r, int token) {
                     if (r >= count) return false;
                     const std::int64_t t = args.position_of(part, first_row + r);
                     return layer.sealed_for(t) > 0 && args.in_window(t, token);
                   });
        continue;
      }
      const std::int64_t begin =
          from_block + (piece - 1) / of_block * layer.block + (piece - 1) % of_block * 32;
      if (begin > t1) break;
      const std::int64_t block_left = layer.block - (piece - 1) % of_block * 32;
      const int n = static_cast<int>(block_left < 32 ? block_left : 32);
      const std::int64_t row = head * store.ring_tokens + begin % store.ring_tokens;
      const int held = static_cast<int>(t1 + 1 - begin < n ? t1 + 1 - begin : n);
      state.read(read_exact(k.exact_f32, store.side[0].ring + exact_bytes(k.exact_f32, row * d), n, d),
                 read_exact(v.exact_f32, store.side[1].ring + exact_bytes(v.exact_f32, row * d), n, d), 0,
                 held, [&](int r, int token) {
                   if (r >= count) return false;
                   const std::int64_t t = args.position_of(part, first_row + r), position = begin + token;
                   return position >= layer.sealed_for(t) * layer.block && args.in_window(t, position);
                 });
    }
  } else {
    const std::int64_t sealed = layer.sealed_for(t1);
    const std::int64_t each = (sealed + part.sealed_items - 1) / part.sealed_items;
    const std::int64_t end = (item + 1) * each < sealed ? (item + 1) * each : sealed;
    for (std::int64_t b = item * each + warp; b < end; b += kWarps) {
      const int n = layer.block_tokens(b);
      const std::int64_t begin = (b + 1) * layer.block - n;
      if (args.sliding > 0 && (b + 1) * layer.block <= t0 + 1 - args.sliding) continue;
      const std::int64_t at = b * layer.heads + head;
      state.read(read_block(k.codec(head), store.side[0].blocks[at], n, d),
                 read_block(v.codec(head), store.side[1].blocks[at], n, d), 0, n, [&](int r, int token) {
                   if (r >= count) return false;
                   const std::int64_t t = args.position_of(part, first_row + r);
                   return b < layer.sealed_for(t) && args.in_window(t, begin + token);
                 });
    }
  }
  state.store(states + warp * G * (d + 2), d);
  __syncthreads();
  merge_warps(args, states, G, count, pair, exact ? part.sealed_items + item : item, first_row);
}

// Grid: items, pairs, rows / G. Shared: plain_shared_floats.
template <int G>
__global__ void __launch_bounds__(kThreads, G == 1 ? 4 : 1)
    attend_plain(const SKV_GRID_CONSTANT AttendArgs args, const PlainPart what) {
  const int pair = static_cast<int>(blockIdx.y), first_row = static_cast<int>(blockIdx.z) * G,
            left = args.rows - first_row, count = left < G ? left : G;
  const PartView& part = args.part_of(pair);
  const SideView &k = args.layer.side[0], &v = args.layer.side[1];
  const int head = args.head_of(pair), sealed = what.sealed ? part.sealed_items : 0,
            item = static_cast<int>(blockIdx.x);
  const bool exact = item >= sealed,
             elsewhere = args.beside_tiles && k.codec(head).tiles && v.codec(head).tiles;
  if (exact ? what.exact && item - sealed < part.exact_items : !elsewhere)
    read_plain<G>(args, exact, pair, exact ? item - sealed : item, first_row, count);
  join_if_last(args, pair, first_row, count, device::dynamic_shared<float>());
}

}  // namespace spectralkv::device_kv
