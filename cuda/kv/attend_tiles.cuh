// Attention over sealed blocks whose keys and values are codes in tiles, without ever having numbers of them
// in memory: whole numbers on the tensor cores, as the CPU multiplies them (8-bit queries, 16-bit weights in
// two bytes). A warp reads a block, 128 tokens at a time, for up to eight query rows: tokens are the rows of
// the first product, channels those of the second, queries the columns of both.
#pragma once

#include "cuda/kv/attend.h"
#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/low_rank.cuh"
#include "cuda/kv/tiles.cuh"

namespace spectralkv::device_kv {

constexpr int kQueries = 8;
constexpr int kTokens = 16 * kSixteens;      // that are read together
constexpr int kPairWords = kTokens / 2 + 1;  // of two 16-bit weights; odd, against bank conflicts

// Shared memory, in floats: queries [8, d], states [warps, 8, d + 2], factor levels of K and V in f16 [2,
// 256], and a warp's weights, whole and f16 [2, 8, kPairWords] and scratch [16, 9].
SKV_HD inline int tiles_warp_floats() {
  return 2 * kQueries * kPairWords + 16 * 9;
}
SKV_HD inline int tiles_shared_floats(int d) {
  return kQueries * d + kWarps * kQueries * (d + 2) + 256 + kWarps * tiles_warp_floats();
}

// A stored block.
struct CodedReader {
  const std::uint8_t* base;
  int weights_at, left_at, right_at, norms_at,
      codes_at;  // bytes from base: half the registers of SkvCodedBlock
  int left_row, right_row, rank;
  float unit;
  __device__ CodedReader(const CodecView& codec, const std::uint8_t* block, int n)
      : base(block), rank(block[0]), unit(ldexpf(1.0f, static_cast<std::int8_t>(block[1]))) {
    const SkvCodedBlock parts =
        skv_coded_block(codec.coded, static_cast<std::size_t>(n), static_cast<std::size_t>(rank));
    weights_at = static_cast<int>(parts.weights);
    left_at = static_cast<int>(parts.left);
    right_at = static_cast<int>(parts.right);
    norms_at = static_cast<int>(parts.norms);
    codes_at = static_cast<int>(parts.codes);
    left_row = static_cast<int>(parts.left_row);
    right_row = static_cast<int>(parts.right_row);
  }
  __device__ float norm(int token) const {
    return device::f16_to_f32(__ldg(reinterpret_cast<const std::uint16_t*>(base + norms_at) + token)) * unit;
  }
  __device__ const std::uint16_t* weights() const {
    return reinterpret_cast<const std::uint16_t*>(base + weights_at);
  }
  __device__ FactorRows left(const CodecView& codec, int n, const std::uint16_t* levels) const {
    return {base + left_at, left_row, (n + 15) / 16 * 16, codec.coded.factor_bits, rank, levels};
  }
  __device__ FactorRows right(const CodecView& codec, int d, const std::uint16_t* levels) const {
    return {base + right_at, right_row, d, codec.coded.factor_bits, rank, levels};
  }
};

// Sums of whole numbers: tokens' codes times the queries' bytes.
template <int D, int bits>
__device__ inline void score_codes(const std::uint8_t* codes, int sixteen, bool there,
                                   const std::uint32_t (&levels)[4],
                                   const std::uint32_t (&queries)[(D + 31) / 32][2],
                                   int (&sums)[kProducts][4]) {
  constexpr int kGroups = D / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const std::uint8_t* const row = codes + static_cast<std::int64_t>(sixteen) * kGroups * 8 * bits;
  SKV_UNROLL
  for (int step = 0; step < (D + 31) / 32; ++step) {
    Tile<bits> first, second;
    const int at = 8 * step + 2 * t;
    const bool inside = there && at < kGroups;
    first.load(row + at * 8 * bits, inside);
    second.load(row + (at + 1) * 8 * bits, inside);
    SKV_UNROLL
    for (int pair = 0; pair < 2; ++pair) {
      std::uint32_t a[4][4];
      first.expand(levels, 2 * pair, a[0]);
      first.expand(levels, 2 * pair + 1, a[1]);
      second.expand(levels, 2 * pair, a[2]);
      second.expand(levels, 2 * pair + 1, a[3]);
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        const std::uint32_t operand[4] = {a[0][m], a[1][m], a[2][m], a[3][m]};
        device::mma_s8(sums[4 * pair + m], operand, queries[step]);
      }
    }
  }
}

// out += step times the sums of whole numbers: channels' codes times weights. first_token: of these kTokens.
template <int D, int bits>
__device__ inline void mix_codes(const std::uint8_t* codes, int n, int first_token,
                                 const std::uint32_t (&levels)[4], const std::uint32_t* weights,
                                 const float (&steps)[2], float (&out)[(D + 127) / 128][kProducts][4]) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4, groups = (n + 3) / 4;
  SKV_UNROLL
  for (int part = 0; part < (D + 127) / 128; ++part) {
    const int sixteen = kSixteens * part + g;
    const std::uint8_t* const row = codes + static_cast<std::int64_t>(sixteen) * groups * 8 * bits;
    const auto load = [&](int step, Tile<bits>(&two)[2]) {
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int at = first_token / 4 + 8 * step + 2 * t + i;
        two[i].load(row + static_cast<std::int64_t>(at) * 8 * bits, 16 * sixteen < D && at < groups);
      }
    };
    // 2 bits: all loads are under way together. More would fill the registers; they are loaded twice.
    constexpr bool kAhead = bits == 2 && D <= 128;
    Tile<bits> ahead[4][2];
    if constexpr (kAhead) {
      SKV_UNROLL
      for (int step = 0; step < 4; ++step) load(step, ahead[step]);
    }
    SKV_UNROLL
    for (int pair = 0; pair < 2; ++pair) {
      int high[4][4] = {}, low[4][4] = {};
      const auto multiply = [&](int step, const Tile<bits>(&two)[2]) {
        std::uint32_t a[4][4];
        two[0].expand(levels, 2 * pair, a[0]);
        two[0].expand(levels, 2 * pair + 1, a[1]);
        two[1].expand(levels, 2 * pair, a[2]);
        two[1].expand(levels, 2 * pair + 1, a[3]);
        const std::uint32_t* const w = weights + g * kPairWords + 16 * step + 4 * t;
        const std::uint32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
        const std::uint32_t upper[2] = {__byte_perm(w0, w1, 0x7531), __byte_perm(w2, w3, 0x7531)};
        const std::uint32_t lower[2] = {__byte_perm(w0, w1, 0x6420), __byte_perm(w2, w3, 0x6420)};
        SKV_UNROLL
        for (int m = 0; m < 4; ++m) {
          const std::uint32_t operand[4] = {a[0][m], a[1][m], a[2][m], a[3][m]};
          device::mma_s8(high[m], operand, upper);
          device::mma_s8(low[m], operand, lower);
        }
      };
      if constexpr (kAhead) {
        SKV_UNROLL
        for (int step = 0; step < 4; ++step) multiply(step, ahead[step]);
      } else {
        SKV_UNROLL_NOT
        for (int step = 0; step < 4; ++step) {
          Tile<bits> two[2];
          load(step, two);
          multiply(step, two);
        }
      }
      SKV_UNROLL
      for (int m = 0; m < 4; ++m)
        for (int i = 0; i < 4; ++i)
          out[part][4 * pair + m][i] += steps[i % 2] * static_cast<float>(256 * high[m][i] + low[m][i]);
    }
  }
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
  static constexpr int kParts = (D + 127) / 128, kSteps = (D + 31) / 32;
  float top[2], sum[2], out[kParts][kProducts][4];
  std::uint32_t queries[kSteps][2];
  float query_steps[2];
  const float* plain_queries;      // [8, d] in shared memory, zeros behind the last row
  const std::uint16_t* levels[2];  // of K's and V's factors
  std::uint32_t *whole, *halves;   // weights [8, kPairWords]
  float* scratch;

  // Where the weights of product p for query 2 t + i stand.
  __device__ __forceinline__ static int word_of(int p, int i) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    return (2 * (lane % 4) + i) * kPairWords + (16 * (lane / 4) + tile_row(p, 0)) / 2;
  }

  // A block of n tokens. visible(column, token): whether query 2 t + column sees it; everything: all do.
  template <class Visible>
  __device__ void read(const CodecView& kc, const CodecView& vc, const std::uint8_t* k_block,
                       const std::uint8_t* v_block, int n, bool everything, const Visible& visible) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4;
    const CodedReader k(kc, k_block, n), v(vc, v_block, n);
    float k_along[4], v_along[4];
    if (k.rank > 0)
      project(
          k.right(kc, D, levels[0]),
          [&](int first, SplitPair(&pairs)[2]) {
            const float* const q = plain_queries + g * D + first;
            pairs[0] = SplitPair(q[0], q[1]);
            pairs[1] = SplitPair(q[2], q[3]);
          },
          k_along);
    for (int begin = 0; begin < n; begin += kTokens) {
      const int sixteen = begin / 16 + g;
      const bool there = 16 * sixteen < n;
      float s[kProducts][4];
      {
        int sums[kProducts][4] = {};
        const std::uint8_t* const codes = k.base + k.codes_at;
        if (kc.coded.bits == 2)
          score_codes<D, 2>(codes, sixteen, there, kc.level_bytes, queries, sums);
        else if (kc.coded.bits == 3)
          score_codes<D, 3>(codes, sixteen, there, kc.level_bytes, queries, sums);
        else
          score_codes<D, 4>(codes, sixteen, there, kc.level_bytes, queries, sums);
        SKV_UNROLL
        for (int p = 0; p < kProducts; ++p)
          for (int half = 0; half < 2; ++half) {
            const int token = 16 * sixteen + tile_row(p, half);
            const float norm = token < n ? k.norm(token) * kc.level_unit : 0;
            SKV_UNROLL
            for (int i = 0; i < 2; ++i)
              s[p][2 * half + i] = static_cast<float>(sums[p][2 * half + i]) * (norm * query_steps[i]);
          }
      }
      if (k.rank > 0) {
        const Turned turned(k_along, k.weights(), k.rank, k.unit, scratch);
        SKV_UNROLL
        for (int m = 0; m < 4; ++m) {
          float low[2][4];
          expand_factor(k.left(kc, n, levels[0]), turned, 16 * sixteen, m, low);
          SKV_UNROLL
          for (int pair = 0; pair < 2; ++pair)
            for (int i = 0; i < 4; ++i) s[4 * pair + m][i] += turned.scale * low[pair][i];
        }
      }
      if (!everything || begin + kTokens > n) {
        SKV_UNROLL
        for (int p = 0; p < kProducts; ++p) {
          SKV_UNROLL
          for (int i = 0; i < 4; ++i) {
            const int token = 16 * sixteen + tile_row(p, i / 2);
            if (token >= n || !visible(i % 2, token)) s[p][i] = -INFINITY;
          }
        }
      }
      float here[2] = {-INFINITY, -INFINITY};
      SKV_UNROLL
      for (int p = 0; p < kProducts; ++p) {
        SKV_UNROLL
        for (int i = 0; i < 4; ++i) here[i % 2] = fmaxf(here[i % 2], s[p][i]);
      }
      float shrink[2];
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        here[i] = over_tokens(here[i], [](float a, float b) { return fmaxf(a, b); });
        const float next = fmaxf(top[i], here[i]);
        shrink[i] = next > -INFINITY ? device::fast_exp(top[i] - next) : 1;
        top[i] = next;
      }
      if (!__any_sync(0xffffffffu, here[0] > -INFINITY || here[1] > -INFINITY)) continue;
      // Weights; then the same times the values' norms.
      float largest[2] = {0, 0}, total[2] = {0, 0};
      SKV_UNROLL
      for (int p = 0; p < kProducts; ++p) {
        SKV_UNROLL
        for (int i = 0; i < 4; ++i) {
          s[p][i] = s[p][i] > -INFINITY ? device::fast_exp(s[p][i] - top[i % 2]) : 0;
          total[i % 2] += s[p][i];
        }
        SKV_UNROLL
        for (int i = 0; i < 2; ++i)  // rows g and g + 8 are neighbours
          if (v.rank > 0) halves[word_of(p, i)] = device::f32x2_to_f16x2(s[p][i], s[p][2 + i]);
        SKV_UNROLL
        for (int half = 0; half < 2; ++half) {
          const int token = 16 * sixteen + tile_row(p, half);
          const float norm = token < n ? v.norm(token) : 0;
          SKV_UNROLL
          for (int i = 0; i < 2; ++i) {
            s[p][2 * half + i] *= norm;
            largest[i] = fmaxf(largest[i], fabsf(s[p][2 * half + i]));
          }
        }
      }
      float steps[2], inverse[2];
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        largest[i] = fmaxf(over_tokens(largest[i], [](float a, float b) { return fmaxf(a, b); }), 1e-30f);
        sum[i] = sum[i] * shrink[i] + over_tokens(total[i], [](float a, float b) { return a + b; });
        steps[i] = largest[i] / 32512.0f * vc.level_unit;
        inverse[i] = 32512.0f / largest[i];
      }
      SKV_UNROLL
      for (int part = 0; part < kParts; ++part)
        for (int p = 0; p < kProducts; ++p)
          for (int i = 0; i < 4; ++i) out[part][p][i] *= shrink[i % 2];
      SKV_UNROLL
      for (int p = 0; p < kProducts; ++p) {
        SKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          std::uint32_t pair = 0;
          SKV_UNROLL
          for (int half = 0; half < 2; ++half) {
            const int number =
                __float2int_rn(s[p][2 * half + i] * inverse[i]);  // 256 high + low, both signed
            pair |= static_cast<std::uint32_t>((number & 0xff) | ((number + 128) & 0xff00)) << 16 * half;
          }
          whole[word_of(p, i)] = pair;
        }
      }
      __syncwarp();
      const std::uint8_t* const codes = v.base + v.codes_at;
      if (vc.coded.bits == 2)
        mix_codes<D, 2>(codes, n, begin, vc.level_bytes, whole, steps, out);
      else if (vc.coded.bits == 3)
        mix_codes<D, 3>(codes, n, begin, vc.level_bytes, whole, steps, out);
      else
        mix_codes<D, 4>(codes, n, begin, vc.level_bytes, whole, steps, out);
      if (v.rank > 0) {
        FactorRows left = v.left(vc, n, levels[1]);
        project_tokens(left, begin, v_along);
        const Turned turned(v_along, v.weights(), v.rank, v.unit, scratch);
        SKV_UNROLL
        for (int part = 0; part < kParts; ++part)
          for (int m = 0; m < 4; ++m) {
            float low[2][4];
            expand_factor(v.right(vc, D, levels[1]), turned, 16 * (kSixteens * part + g), m, low);
            SKV_UNROLL
            for (int pair = 0; pair < 2; ++pair)
              for (int i = 0; i < 4; ++i) out[part][4 * pair + m][i] += turned.scale * low[pair][i];
          }
      }
      __syncwarp();
    }
  }

  // The weights of tokens [begin, begin + kTokens) along the left factor.
  __device__ void project_tokens(const FactorRows& rows, int begin, float (&along)[4]) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    for (float& value : along) value = 0;
    SKV_UNROLL_NOT
    for (int step = 0; step < kTokens / 16; ++step) {
      const int first = 16 * step + 4 * t;
      if (begin + 16 * step >= rows.length) break;
      std::uint32_t a[4] = {};
      SKV_UNROLL
      for (int half = 0; half < 2; ++half)
        if (g + 8 * half < rows.rank) {
          const std::uint32_t codes = four_codes(rows, g + 8 * half, begin + first);
          a[half] = level_of(rows, codes, 0) | level_of(rows, codes, 1) << 16;
          a[half + 2] = level_of(rows, codes, 2) | level_of(rows, codes, 3) << 16;
        }
      const std::uint32_t* const w = halves + g * kPairWords + first / 2;
      const std::uint32_t b[2] = {w[0], w[1]};
      device::mma_f16(along, a, b);
    }
  }

  // state: [8, D + 2] of this warp.
  __device__ void store(float* state) {
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    SKV_UNROLL
    for (int i = 0; i < 2; ++i)
      if (g == 0) {
        state[(2 * t + i) * (D + 2)] = top[i];
        state[(2 * t + i) * (D + 2) + 1] = sum[i];
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

// Grid: items, KV heads, rows / 8.
template <int D>
__global__ void __launch_bounds__(kThreads) attend_tiles(const SKV_GRID_CONSTANT AttendArgs args) {
  const LayerView& layer = args.layer;
  const int head = static_cast<int>(blockIdx.y), item = static_cast<int>(blockIdx.x);
  const int first_row = static_cast<int>(blockIdx.z) * kQueries, left = args.rows - first_row;
  const int count = left < kQueries ? left : kQueries, thread = static_cast<int>(threadIdx.x),
            warp = thread / 32;
  const int lane = thread % 32, g = lane / 4, t = lane % 4;
  float* const q = device::dynamic_shared<float>();
  float* const states = q + kQueries * D;
  auto* const levels = reinterpret_cast<std::uint16_t*>(states + kWarps * kQueries * (D + 2));
  float* const own = reinterpret_cast<float*>(levels + 512) + warp * tiles_warp_floats();
  const CodecView &kc = layer.side[0].codec, &vc = layer.side[1].codec;
  const std::int64_t row0 = static_cast<std::int64_t>(head) * args.rows + first_row;
  for (int i = thread; i < kQueries * D; i += kThreads) q[i] = i < count * D ? args.entered[row0 * D + i] : 0;
  for (int i = thread; i < 512; i += kThreads) {
    const CodecView& codec = i < 256 ? kc : vc;
    levels[i] = i % 256 < 1 << codec.coded.factor_bits ? device::f32_to_f16(codec.factor_levels[i % 256])
                                                       : std::uint16_t{0};
  }
  TileWarp<D> state;
  state.plain_queries = q;
  state.levels[0] = levels;
  state.levels[1] = levels + 256;
  state.whole = reinterpret_cast<std::uint32_t*>(own);
  state.halves = state.whole + kQueries * kPairWords;
  state.scratch = own + 2 * kQueries * kPairWords;
  const std::int8_t* const bytes = args.bytes + (row0 + g) * byte_stride(D);
  SKV_UNROLL
  for (int step = 0; step < TileWarp<D>::kSteps; ++step) {
    uint2 two = make_uint2(0, 0);
    if (g < count) two = *reinterpret_cast<const uint2*>(bytes + 32 * step + 8 * t);
    state.queries[step][0] = two.x;
    state.queries[step][1] = two.y;
  }
  const std::int64_t t0 = args.position_of(first_row), t1 = args.position_of(first_row + count - 1);
  const std::int64_t sealed = layer.sealed_for(t1);
  std::int64_t position[2], sealed_for[2];
  SKV_UNROLL
  for (int i = 0; i < 2; ++i) {
    const int row = 2 * t + i;
    state.top[i] = -INFINITY;
    state.sum[i] = 0;
    state.query_steps[i] = row < count ? args.steps[row0 + row] : 0;
    position[i] = row < count ? args.position_of(first_row + row) : t0;
    sealed_for[i] = row < count ? layer.sealed_for(position[i]) : sealed;  // nobody looks at what it gets
  }
  SKV_UNROLL
  for (int part = 0; part < TileWarp<D>::kParts; ++part)
    for (int p = 0; p < kProducts; ++p)
      for (int i = 0; i < 4; ++i) state.out[part][p][i] = 0;
  __syncthreads();

  const std::int64_t each = (sealed + args.sealed_items - 1) / args.sealed_items;
  const std::int64_t end = (item + 1) * each < sealed ? (item + 1) * each : sealed;
  for (std::int64_t b = item * each + warp; b < end; b += kWarps) {
    if (args.sliding > 0 && (b + 1) * layer.block <= t0 + 1 - args.sliding) continue;
    const int n = layer.block_tokens(b);
    const std::int64_t begin = (b + 1) * layer.block - n, at = b * layer.heads + head;
    const auto sees = [&](int i, int token) {
      return b < sealed_for[i] && (args.sliding == 0 || begin + token > position[i] - args.sliding);
    };
    const bool everything = __all_sync(0xffffffffu, sees(0, 0) && sees(1, 0)) != 0;
    state.read(kc, vc, layer.side[0].blocks[at], layer.side[1].blocks[at], n, everything, sees);
  }
  state.store(states + warp * kQueries * (D + 2));
  __syncthreads();
  merge_warps(args, states, kQueries, count, head, item, first_row);
}

}  // namespace spectralkv::device_kv
