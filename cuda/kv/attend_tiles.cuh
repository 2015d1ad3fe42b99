// Attention over sealed blocks whose keys and values are codes in tiles. Their numbers never stand in memory:
// products are of whole numbers on the tensor cores, as the CPU multiplies them (queries in 8 bits,
// probabilities in 16 as two bytes). A warp reads a block, 128 tokens at a time, for up to eight query rows:
//
//                   8 queries                                   8 queries
//                 +-----------+                               +-----------+
//     128 tokens  |     s     |  = K's codes x queries      d |    out    |  += V's codes x probabilities
//                 +-----------+                      channels +-----------+
//
// In both, lane 4 g + t has the columns of queries 2 t and 2 t + 1, and of the rows the sixteen number g
// (tiles.cuh). The largest logit and the sum of a query are joined over g; s becomes probabilities in place.
#pragma once

#include "cuda/kv/attend.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/coded_products.cuh"

namespace spectralkv::device_kv {

// Shared memory, in words, in this order:
//
//     [steps, 32, 4]         queries as `project` multiplies them
//     [steps, 32, 2]         those of ByteQueries, where registers do not suffice for them
//     [warps, 8, d + 2]      states
//     [2, kFactorPairs]      pairs of factor levels of K and of V
//     [2, 4]                 levels of K and of V in bytes
//     [3, 8]                 of each query: its step, its position, how many blocks it reads as sealed
//     [warps, 2, 8, kProbabilityWords]   a warp's probabilities, whole and f16; the first of the two also
//                            holds the columns of a wide component, [256] and [kTokens]
SKV_HD constexpr int query_groups(int d) {
  return (d + 63) / 64;
}
SKV_HD constexpr int query_words(int d) {
  return query_groups(d) * 4 * 32 * 4;
}
SKV_HD constexpr int byte_query_words(int d) {
  return d > 128 ? (d + 31) / 32 * 32 * 2 : 0;
}
SKV_HD constexpr int tiles_warp_words() {
  return 2 * kQueries * kProbabilityWords;
}
SKV_HD constexpr int tiles_shared_words(int d) {
  return query_words(d) + byte_query_words(d) + kWarps * kQueries * (d + 2) + 2 * kFactorPairs + 8 +
         3 * kQueries + kWarps * tiles_warp_words();
}

// The largest, or the sum, over the lanes that hold the same queries.
template <class Join>
__device__ __forceinline__ float over_tokens(float x, const Join& join) {
  for (int step = 4; step < 32; step *= 2) x = join(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}

// One warp's state: column i % 2 of a product's fragment is query 2 t + i % 2.
template <int D>
struct TileWarp {
  static constexpr int kParts = (D + 127) / 128;
  static constexpr bool kTrellis = D <= kMostTrellisTiles;
  float top[2], sum[2], out[kParts][kProducts][4];  // sum: this lane's share
  ByteQueries<D> queries;
  const float* entered;           // [rows, D], the queries
  int last;                       // of those rows
  const float* query_steps;       // [8] in shared memory
  const uint4* split_queries;     // [steps, 32] in shared memory: high and low of two pairs, twice
  const std::uint32_t* pairs[2];  // of K's and V's factor levels, in shared memory
  // [2, 4] of K's and V's levels in shared memory: from constants the compiler moves them before each use.
  const std::uint32_t* level_bytes;
  // Probabilities [8, kProbabilityWords] by probabilities_at: the high and the low bytes of four whole
  // numbers; four f16.
  std::uint32_t *whole, *halves;

  // A block of n tokens. seen_from(column): the first that query 2 t + column sees, or before; n: none.
  template <class SeenFrom>
  __device__ void read(const CodecView& kc, const CodecView& vc, const std::uint8_t* k_block,
                       const std::uint8_t* v_block, int n, const SeenFrom& seen_from) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    const CodedReader k(kc, k_block, n), v(vc, v_block, n);
    for (int begin = 0; begin < n; begin += kTokens) {
      const int sixteen = begin / 16 + g;
      const bool there = 16 * sixteen < n;
      float s[kProducts][4];
      {
        int sums[kProducts][4] = {};
        const std::uint32_t levels[4] = {level_bytes[0], level_bytes[1], level_bytes[2], level_bytes[3]};
        const std::uint8_t* const codes = k.codes(n);
        if (kTrellis && kc.searches)
          score_codes<D, 2, kTrellis>(codes, sixteen, there, levels, queries, sums);
        else if (kc.coded.bits == 2)
          score_codes<D, 2>(codes, sixteen, there, levels, queries, sums);
        else if (kc.coded.bits == 3)
          score_codes<D, 3>(codes, sixteen, there, levels, queries, sums);
        else
          score_codes<D, 4>(codes, sixteen, there, levels, queries, sums);
        std::uint32_t scales[8];
        k.row_scales(sixteen, n, scales);
        const float unit = k.row_unit() * kc.level_unit;
        const float steps[2] = {unit * query_steps[2 * t], unit * query_steps[2 * t + 1]};
        SKV_UNROLL
        for (int p = 0; p < kProducts; ++p) {
          const float2 scale = device::f16x2_to_f32x2(scales[tile_row(p, 0) / 2]);
          SKV_UNROLL
          for (int i = 0; i < 4; ++i)
            s[p][i] = static_cast<float>(sums[p][i]) * ((i < 2 ? scale.x : scale.y) * steps[i % 2]);
        }
      }
      add_scores(k, n, sixteen, s);
      add_wide_scores(k, kc, n, begin, s);
      const int from[2] = {seen_from(0), seen_from(1)};
      if (from[0] > begin || from[1] > begin || begin + kTokens > n) {
        SKV_UNROLL
        for (int p = 0; p < kProducts; ++p) {
          SKV_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int token = 16 * sixteen + tile_row(p, i / 2);
            if (token >= n || token < from[i % 2]) s[p][i] = -INFINITY;
          }
        }
      }
      float here[2] = {-INFINITY, -INFINITY};
      SKV_UNROLL
      for (int p = 0; p < kProducts; ++p) {
        SKV_UNROLL
        for (int i = 0; i < 4; ++i) here[i % 2] = fmaxf(here[i % 2], s[p][i]);
      }
      float shrink[2], base[2];
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        here[i] = over_tokens(here[i], [](float a, float b) { return fmaxf(a, b); });
        const float next = fmaxf(top[i], here[i]);
        shrink[i] = next > -INFINITY ? device::fast_exp2((top[i] - next) * kLog2E) : 1;
        base[i] = next > -INFINITY ? next * kLog2E : 0;
        top[i] = next;
      }
      if (!__any_sync(0xffffffffu, here[0] > -INFINITY || here[1] > -INFINITY)) continue;
      if (__any_sync(0xffffffffu, shrink[0] != 1 || shrink[1] != 1)) {
        SKV_UNROLL
        for (int part = 0; part < kParts; ++part)
          for (int p = 0; p < kProducts; ++p)
            for (int i = 0; i < 4; ++i) out[part][p][i] *= shrink[i % 2];
      }
      // Probabilities, four tokens of a query at a time; then the same times the values' scales, in whole
      // numbers.
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) sum[i] *= shrink[i];
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        SKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          float* const four[4] = {&s[m][i], &s[m][2 + i], &s[4 + m][i], &s[4 + m][2 + i]};
          SKV_UNROLL
          for (float* const x : four) {
            *x = device::fast_exp2(fmaf(*x, kLog2E, -base[i]));
            sum[i] += *x;
          }
          if (v.narrow() != 0)
            *reinterpret_cast<uint2*>(halves + probabilities_at(2 * t + i, 4 * g + m)) = make_uint2(
                device::f32x2_to_f16x2(*four[0], *four[1]), device::f32x2_to_f16x2(*four[2], *four[3]));
        }
      }
      add_wide_values(v, vc, n, begin, s);
      float largest[2] = {0, 0};
      {
        std::uint32_t scales[8];
        v.row_scales(sixteen, n, scales);
        SKV_UNROLL
        for (int p = 0; p < kProducts; ++p) {
          const float2 scale = device::f16x2_to_f32x2(scales[tile_row(p, 0) / 2]);
          SKV_UNROLL
          for (int i = 0; i < 4; ++i) {
            s[p][i] *= i < 2 ? scale.x : scale.y;
            largest[i % 2] = fmaxf(largest[i % 2], fabsf(s[p][i]));
          }
        }
      }
      float steps[2], inverse[2];
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        largest[i] = fmaxf(over_tokens(largest[i], [](float a, float b) { return fmaxf(a, b); }), 1e-30f);
        steps[i] = largest[i] * (v.row_unit() * vc.level_unit / 32512.0f);
        inverse[i] = 32512.0f / largest[i];
      }
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        SKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          // 256 high + low, both signed. Added to this, a number is rounded and its low 16 bits are those of
          // a float; 128 more, and the high byte is what it must be and the low one 128 too large.
          constexpr float kWhole = 12582912.0f + 128.0f;
          const float four[4] = {s[m][i], s[m][2 + i], s[4 + m][i], s[4 + m][2 + i]};
          std::uint32_t bits[4];
          SKV_UNROLL
          for (int j = 0; j < 4; ++j) bits[j] = __float_as_uint(fmaf(four[j], inverse[i], kWhole));
          const std::uint32_t first = __byte_perm(bits[0], bits[1], 0x5140),
                              second = __byte_perm(bits[2], bits[3], 0x5140);
          *reinterpret_cast<uint2*>(whole + probabilities_at(2 * t + i, 4 * g + m)) = make_uint2(
              __byte_perm(first, second, 0x7632), __byte_perm(first, second, 0x5410) ^ 0x80808080u);
        }
      }
      __syncwarp();
      const std::uint8_t* const codes = v.codes(n);
      const std::uint32_t levels[4] = {level_bytes[4], level_bytes[5], level_bytes[6], level_bytes[7]};
      if (kTrellis && vc.searches)
        mix_codes<D, 2, kTrellis>(codes, n, begin, levels, whole, steps, out);
      else if (vc.coded.bits == 2)
        mix_codes<D, 2>(codes, n, begin, levels, whole, steps, out);
      else if (vc.coded.bits == 3)
        mix_codes<D, 3>(codes, n, begin, levels, whole, steps, out);
      else
        mix_codes<D, 4>(codes, n, begin, levels, whole, steps, out);
      add_values(v, n, begin / 16);
      __syncwarp();
    }
  }

  // The narrow components of a block's keys into scores of its tokens from sixteen - g sixteens on.
  __device__ __forceinline__ void add_scores(const CodedReader& k, int n, int sixteen,
                                             float (&s)[kProducts][4]) const {
    if (k.narrow() == 0) return;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    SKV_UNROLL_NOT
    for (int first = __ffs(static_cast<int>(k.narrow())) - 1; k.narrow() >> first != 0; first += kRanks) {
      float along[2];
      project<query_groups(D)>(
          k.right(D, pairs[0]), first, 0,
          [&](int step, std::uint32_t(&a)[4]) {
            const uint4 four = split_queries[32 * step + lane];
            a[0] = four.x, a[1] = four.y, a[2] = four.z, a[3] = four.w;
          },
          along);
      const SmallSide small(along, k.shares(), first, k.narrow(), k.unit());
      expand_factor(k.left(n, pairs[0]), first, sixteen, small, [&](int p, const float(&sums)[4]) {
        SKV_UNROLL
        for (int i = 0; i < 4; ++i) s[p][i] += small.scale * sums[i];
      });
    }
  }

  // The wide ones and rows with a second stage, of kTokens tokens from `begin` on.
  __device__ __forceinline__ void add_wide_scores(const CodedReader& k, const CodecView& codec, int n,
                                                  int begin, float (&s)[kProducts][4]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    auto* const right = reinterpret_cast<float*>(whole);
    float* const left = right + 128 * kParts;
    SKV_UNROLL_NOT
    for (unsigned rest = k.in_f32(); rest != 0; rest &= rest - 1) {
      const int component = __ffs(static_cast<int>(rest)) - 1;
      const float share = stage_component(codec, k, component, n, begin, D, right, left);
      __syncwarp();
      const float* const query = entered + (g < last ? g : last) * D;
      float along = 0;  // of query g
      SKV_UNROLL_NOT
      for (int c = 4 * t; c < D; c += 16) {
        const float4 x = *reinterpret_cast<const float4*>(query + c),
                     y = *reinterpret_cast<const float4*>(right + c);
        along = fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, along))));
      }
      along += __shfl_xor_sync(0xffffffffu, along, 1);
      along += __shfl_xor_sync(0xffffffffu, along, 2);
      along *= share;
      const float two[2] = {__shfl_sync(0xffffffffu, along, 8 * t),
                            __shfl_sync(0xffffffffu, along, 8 * t + 4)};
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        const float4 four = *reinterpret_cast<const float4*>(left + 16 * g + 4 * m);
        SKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          s[m][i] = fmaf(two[i], four.x, s[m][i]);
          s[m][2 + i] = fmaf(two[i], four.y, s[m][2 + i]);
          s[4 + m][i] = fmaf(two[i], four.z, s[4 + m][i]);
          s[4 + m][2 + i] = fmaf(two[i], four.w, s[4 + m][2 + i]);
        }
      }
      __syncwarp();
    }
  }

  // The wide components and the second stage of values into `out`, with the probabilities of kTokens tokens
  // from `begin` on.
  __device__ __forceinline__ void add_wide_values(const CodedReader& v, const CodecView& codec, int n,
                                                  int begin, const float (&probabilities)[kProducts][4]) {
    const int g = static_cast<int>(threadIdx.x) % 32 / 4;
    auto* const right = reinterpret_cast<float*>(whole);
    float* const left = right + 128 * kParts;
    SKV_UNROLL_NOT
    for (unsigned rest = v.in_f32(); rest != 0; rest &= rest - 1) {
      const int component = __ffs(static_cast<int>(rest)) - 1;
      const float share = stage_component(codec, v, component, n, begin, D, right, left);
      __syncwarp();
      float along[2] = {0, 0};
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        const float4 four = *reinterpret_cast<const float4*>(left + 16 * g + 4 * m);
        SKV_UNROLL
        for (int i = 0; i < 2; ++i)
          along[i] = fmaf(probabilities[m][i], four.x,
                          fmaf(probabilities[m][2 + i], four.y,
                               fmaf(probabilities[4 + m][i], four.z,
                                    fmaf(probabilities[4 + m][2 + i], four.w, along[i]))));
      }
      SKV_UNROLL
      for (int i = 0; i < 2; ++i)
        along[i] = share * over_tokens(along[i], [](float a, float b) { return a + b; });
      SKV_UNROLL
      for (int part = 0; part < kParts; ++part) {
        const int channel = 16 * (kSixteens * part + g);
        if (channel >= D) continue;
        SKV_UNROLL
        for (int m = 0; m < 4; ++m) {
          const float4 four = *reinterpret_cast<const float4*>(right + channel + 4 * m);
          SKV_UNROLL
          for (int i = 0; i < 2; ++i) {
            out[part][m][i] = fmaf(along[i], four.x, out[part][m][i]);
            out[part][m][2 + i] = fmaf(along[i], four.y, out[part][m][2 + i]);
            out[part][4 + m][i] = fmaf(along[i], four.z, out[part][4 + m][i]);
            out[part][4 + m][2 + i] = fmaf(along[i], four.w, out[part][4 + m][2 + i]);
          }
        }
      }
      __syncwarp();
    }
  }

  // The narrow components of values into `out`, with the probabilities of kTokens tokens from sixteen `begin`
  // on.
  __device__ __forceinline__ void add_values(const CodedReader& v, int n, int begin) {
    if (v.narrow() == 0) return;
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    SKV_UNROLL_NOT
    for (int first = __ffs(static_cast<int>(v.narrow())) - 1; v.narrow() >> first != 0; first += kRanks) {
      float along[2];
      uint4 two{};  // fours of probabilities, for two steps
      project<kSixteens / 4>(
          v.left(n, pairs[1]), first, begin,
          [&](int step, std::uint32_t(&a)[4]) {
            if (step % 2 == 0)
              two =
                  *reinterpret_cast<const uint4*>(halves + probabilities_at(g, projected_place(step, t) / 4));
            a[0] = step % 2 == 0 ? two.x : two.z;
            a[2] = step % 2 == 0 ? two.y : two.w;
            a[1] = a[3] = 0;
          },
          along);
      const SmallSide small(along, v.shares(), first, v.narrow(), v.unit());
      SKV_UNROLL
      for (int part = 0; part < kParts; ++part)
        expand_factor(v.right(D, pairs[1]), first, kSixteens * part + g, small,
                      [&](int p, const float(&sums)[4]) {
                        SKV_UNROLL
                        for (int i = 0; i < 4; ++i) out[part][p][i] += small.scale * sums[i];
                      });
    }
  }

  // state: [8, D + 2] of this warp.
  __device__ void store(float* state) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    SKV_UNROLL
    for (int i = 0; i < 2; ++i) {
      const float whole_sum = over_tokens(sum[i], [](float a, float b) { return a + b; });
      if (g == 0) {
        state[(2 * t + i) * (D + 2)] = top[i];
        state[(2 * t + i) * (D + 2) + 1] = whole_sum;
      }
    }
    SKV_UNROLL
    for (int part = 0; part < kParts; ++part)
      for (int p = 0; p < kProducts; ++p)
        for (int i = 0; i < 4; ++i) {
          const int channel = 16 * (kSixteens * part + g) + tile_row(p, i / 2);
          if (channel < D) state[(2 * t + i % 2) * (D + 2) + 2 + channel] = out[part][p][i];
        }
  }
};

// A sealed item, rows [first_row, first_row + count), of a head both of whose codecs are tiles.
template <int D>
__device__ __forceinline__ void read_tiles(const AttendArgs& args, int pair, int item, int first_row,
                                           int count) {
  const LayerView& layer = args.layer;
  const int head = args.head_of(pair), thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const PartView& sequence = args.part_of(pair);
  const int lane = thread % 32, g = lane / 4, t = lane % 4;
  auto* const queries = device::dynamic_shared<uint4>();
  auto* const byte_queries = reinterpret_cast<uint2*>(queries + query_words(D) / 4);
  float* const states = reinterpret_cast<float*>(byte_queries) + byte_query_words(D);
  auto* const pairs = reinterpret_cast<std::uint32_t*>(states + kWarps * kQueries * (D + 2));
  std::uint32_t* const levels = pairs + 2 * kFactorPairs;
  auto* const query_steps = reinterpret_cast<float*>(levels + 8);
  int* const positions = reinterpret_cast<int*>(levels + 8 + kQueries);
  int* const sealed_for = positions + kQueries;
  std::uint32_t* const own = levels + 8 + 3 * kQueries + warp * tiles_warp_words();
  const CodecView &kc = layer.side[0].codec(head), &vc = layer.side[1].codec(head);
  const std::int64_t row0 = static_cast<std::int64_t>(pair) * args.rows + first_row;
  for (int i = thread; i < query_words(D) / 4; i += kThreads) {
    const int row = i % 32 / 4, channel = projected_place(i / 32, i % 4);
    float4 x = make_float4(0, 0, 0, 0);
    if (row < count && channel < D)
      x = *reinterpret_cast<const float4*>(args.entered + (row0 + row) * D + channel);
    const SplitPair first(x.x, x.y), second(x.z, x.w);
    queries[i] = make_uint4(first.high, first.low, second.high, second.low);
  }
  for (int i = thread; i < 2 * kFactorPairs / 4; i += kThreads) {
    const auto* const from =
        reinterpret_cast<const uint4*>(i < kFactorPairs / 4 ? kc.factor_pairs : vc.factor_pairs);
    reinterpret_cast<uint4*>(pairs)[i] = __ldg(from + i % (kFactorPairs / 4));
  }
  if (thread < 8) levels[thread] = (thread < 4 ? kc : vc).level_bytes[thread % 4];
  TileWarp<D> state;
  state.level_bytes = levels;
  state.entered = args.entered + row0 * D;
  state.last = count - 1;
  state.query_steps = query_steps;
  state.queries.shared = byte_queries;
  state.split_queries = queries;
  state.pairs[0] = pairs;
  state.pairs[1] = pairs + kFactorPairs;
  state.whole = own;
  state.halves = own + kQueries * kProbabilityWords;
  const std::int8_t* const bytes = args.bytes + (row0 + g) * byte_stride(D);
  SKV_UNROLL
  for (int step = 0; step < ByteQueries<D>::kSteps; ++step) {
    uint2 two = make_uint2(0, 0);
    if (g < count) two = *reinterpret_cast<const uint2*>(bytes + 32 * step + 8 * t);
    state.queries.store(step, two);
  }
  const std::int64_t t0 = args.position_of(sequence, first_row),
                     t1 = args.position_of(sequence, first_row + count - 1);
  const std::int64_t sealed = layer.sealed_for(t1);
  // In shared memory, as registers are scarce; a context has at most 2^31 tokens.
  if (thread < kQueries) {
    const std::int64_t position = args.position_of(sequence, first_row + (thread < count ? thread : 0));
    query_steps[thread] = thread < count ? args.steps[row0 + thread] : 0;
    positions[thread] = static_cast<int>(position);
    sealed_for[thread] = static_cast<int>(thread < count ? layer.sealed_for(position)
                                                         : sealed);  // nobody looks at what it gets
  }
  SKV_UNROLL
  for (int i = 0; i < 2; ++i) {
    state.top[i] = -INFINITY;
    state.sum[i] = 0;
  }
  SKV_UNROLL
  for (int part = 0; part < TileWarp<D>::kParts; ++part)
    for (int p = 0; p < kProducts; ++p)
      for (int i = 0; i < 4; ++i) state.out[part][p][i] = 0;
  __syncthreads();

  const int each = (static_cast<int>(sealed) + sequence.sealed_items - 1) / sequence.sealed_items;
  const int end = static_cast<int>((item + 1) * each < sealed ? (item + 1) * each : sealed);
  int start = item * each;
  const std::int64_t unseen = (t0 + 1 - args.sliding) / layer.block;  // blocks that no query sees
  if (args.sliding > 0 && start < unseen) start = static_cast<int>(unseen);
  // The bytes of a warp's next block are under way while it multiplies this one. There are no registers to
  // bring them nearer than the second-level cache, nor is there time to be had by way of shared memory: what
  // a lane loads of a block no other lane wants.
  const auto fetch_block = [&](int b) {
    SKV_UNROLL
    for (int side = 0; side < 2; ++side) {
      const std::int64_t at = b * layer.heads + head;
      const std::uint8_t* const block = sequence.store.side[side].blocks[at];
      const auto size = static_cast<int>(sequence.store.side[side].sizes[at]);
      SKV_UNROLL_NOT
      for (int i = 128 * lane; i < size; i += 128 * 32) device::fetch_ahead(block + i);
    }
  };
  for (int b = start + warp; b < end; b += kWarps) {
    if (b + kWarps < end) fetch_block(b + kWarps);
    const int n = layer.block_tokens(b);
    const std::int64_t at = b * layer.heads + head;
    // The first token that query 2 t + i sees.
    const auto seen_from = [&](int i) {
      const int row = 2 * t + i;
      if (b >= sealed_for[row]) return n;
      const std::int64_t first = positions[row] + 1 - args.sliding - ((b + 1) * layer.block - n);
      return args.sliding == 0 || first < 0 ? 0 : static_cast<int>(first);
    };
    state.read(kc, vc, sequence.store.side[0].blocks[at], sequence.store.side[1].blocks[at], n, seen_from);
  }
  state.store(states + warp * kQueries * (D + 2));
  __syncthreads();
  merge_warps(args, states, kQueries, count, pair, item, first_row);
}

}  // namespace spectralkv::device_kv
