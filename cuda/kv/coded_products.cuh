// Products of a stored block's codes in tiles with queries and with probabilities, in whole numbers on the
// tensor cores: what attend_tiles.cuh is made of.
#pragma once

#include "cuda/codecs/codes.cuh"
#include "cuda/kv/low_rank.cuh"
#include "cuda/kv/tiles.cuh"
#include "cuda/kv/trellis_tiles.cuh"
#include "cuda/kv/views.h"

namespace spectralkv::device_kv {

constexpr int kQueries = 8;
constexpr int kTokens = 16 * kSixteens;         // that are read together
constexpr int kProbabilityWords = kTokens / 2;  // of a query: two 16-bit probabilities each

// Probabilities of a warp, [8, kProbabilityWords]: a query's tokens by fours, two words each.
//
//     tokens                  0  1  2  3    4  5  6  7    ...
//     whole (16 bits each)    high | low    high | low         a word is the high, or the low, bytes of four
//     halves (f16)            0, 1 | 2, 3   4, 5 | 6, 7        a word is two tokens
//
// This is where the words of a four begin. Those of an even four and of the next stand together, and a
// query's are permuted so that neither writing (lane 4 g + t: queries 2 t and 2 t + 1, fours of sixteen g)
// nor reading (query g, fours 2 t and on) meets in a bank of shared memory more often than it must.
__device__ __forceinline__ int probabilities_at(int query, int four) {
  return query * kProbabilityWords + ((four / 2 ^ ((query & 1) << 2 | (query >> 1 & 1))) * 4 + four % 2 * 2);
}

// The lane that knows what stands before the shares: no component has its number, nor one of those that are
// multiplied together with the last.
constexpr int kHeadLane = 31;

// A stored block. All lanes of a warp make one together.
struct CodedReader {
  const std::uint8_t* base;
  // Bytes from base, in a quarter of the registers of SkvLowRankPart: right columns; and 256 times the
  // residual
  // + left columns (at most 4 + 3 ranks, an even number) + 1 where the residual's scales are bytes.
  int right_at, places;
  int component;             // lane i knows number i; the last one, 256 second rows + bytes before shares
  unsigned narrow_and_wide;  // a bit a component, the wide ones from bit 16 on
  __device__ CodedReader(const CodecView& codec, const std::uint8_t* block, int n) : base(block) {
    const SkvFactors factors = skv_factors(codec.plain_width, block);
    const int rank = factors.rank;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int width = lane < rank ? skv_factor_width(factors, lane) : 0;
    int bits = width;  // up to this component
    SKV_UNROLL
    for (int step = 1; step < kMostRank; step *= 2) {
      const int before = __shfl_up_sync(0xffffffffu, bits, static_cast<unsigned>(step));
      if (lane >= step) bits += before;
    }
    narrow_and_wide = __ballot_sync(0xffffffffu, width > 0 && width <= kNarrow) |
                      __ballot_sync(0xffffffffu, width > kNarrow) << 16;
    component = 0;
    if (lane < rank) {
      component = (bits - width) << 8 | width;
      if (skv_factor_is_whole(factors, lane)) component |= kComponentWhole;
      if (width > factors.all) component |= kComponentSecondBook;
    }
    if (lane == kHeadLane) component = factors.second_rows << 8 | factors.shares_at;
    const SkvLowRankPart parts =
        skv_low_rank_part_of(codec.coded.d, static_cast<std::size_t>(n), factors,
                             static_cast<std::size_t>(__shfl_sync(0xffffffffu, bits, kMostRank - 1)));
    right_at = static_cast<int>(parts.right);
    places = static_cast<int>(parts.residual << 8 | parts.left) | skv_has_byte_scales(base + parts.residual);
  }
  // All lanes call what follows. A bit a component:
  __device__ __forceinline__ unsigned narrow() const { return narrow_and_wide & 0xffffu; }
  // The wide ones, and from bit kMostRank on each row with a second stage.
  __device__ __forceinline__ unsigned in_f32() const {
    return narrow_and_wide >> 16 | ((1u << second_rows()) - 1u) << kMostRank;
  }
  __device__ __forceinline__ int second_rows() const {
    return __shfl_sync(0xffffffffu, component, kHeadLane) >> 8;
  }
  // 2^e, read anew where it is wanted: a register the less. Of what no codec writes, e below -126, 0.
  __device__ __forceinline__ float unit() const {
    const int exponent = 127 + static_cast<std::int8_t>(base[1]);
    return __int_as_float(exponent > 0 ? exponent << 23 : 0);
  }
  __device__ __forceinline__ float share(int i) const { return device::f16_to_f32(shares()[i]) * unit(); }
  __device__ __forceinline__ bool byte_scales() const { return (places & 1) != 0; }
  __device__ __forceinline__ const std::uint8_t* scales() const { return base + (places >> 8); }
  __device__ __forceinline__ const std::uint8_t* codes(int n) const {
    return scales() + (byte_scales() ? 2 + (n + 1) / 2 * 2 : 2 * n);
  }
  // Scales (f16, times row_unit) of sixteen tokens in pairs, zeros from token n on. Squares of bytes are
  // rounded to f16.
  __device__ __forceinline__ void row_scales(int sixteen, int n, std::uint32_t (&pairs)[8]) const {
    if (byte_scales()) {
      const std::uint8_t* const bytes = scales() + 2;
      SKV_UNROLL
      for (int i = 0; i < 8; ++i) {
        const int token = 16 * sixteen + 2 * i;
        // A pair is aligned, and of an odd n the byte behind the last is 0.
        const unsigned two =
            token < n ? __ldg(reinterpret_cast<const std::uint16_t*>(bytes + token)) : std::uint16_t{0};
        const auto first = static_cast<float>(two & 0xffu), other = static_cast<float>(two >> 8);
        pairs[i] = device::f32x2_to_f16x2(first * first, other * other);
      }
      return;
    }
    const auto* const at = reinterpret_cast<const std::uint16_t*>(scales()) + 16 * sixteen;
    if (16 * sixteen + 16 <= n && reinterpret_cast<std::uintptr_t>(at) % 8 == 0) {
      SKV_UNROLL
      for (int i = 0; i < 4; ++i) {
        const uint2 four = __ldg(reinterpret_cast<const uint2*>(at) + i);
        pairs[2 * i] = four.x;
        pairs[2 * i + 1] = four.y;
      }
      return;
    }
    SKV_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int token = 16 * sixteen + 2 * i;
      pairs[i] = token < n ? __ldg(at + 2 * i) : 0u;
      if (token + 1 < n) pairs[i] |= static_cast<std::uint32_t>(__ldg(at + 2 * i + 1)) << 16;
    }
  }
  __device__ const std::uint16_t* shares() const {
    return reinterpret_cast<const std::uint16_t*>(base +
                                                  (__shfl_sync(0xffffffffu, component, kHeadLane) & 0xff));
  }
  // What 1 stands for among row_scales.
  __device__ __forceinline__ float row_unit() const {
    return byte_scales() ? unit() * skv_byte_scale_unit(scales()) : unit();
  }
  // Number j of the rows with a second stage: it stands before the residual.
  __device__ __forceinline__ SecondRow second_row(int j, int d) const {
    const int rows = second_rows();
    return SecondRow(scales() - skv_second_bytes(d, static_cast<std::size_t>(rows)), rows, j, d);
  }
  __device__ FactorRows left(int n, const std::uint32_t* pairs) const {
    return {base + (places & 0xfe), (n + 15) / 16 * 2, (n + 15) / 16 * 16, component, pairs};
  }
  __device__ FactorRows right(int d, const std::uint32_t* pairs) const {
    return {base + right_at, d / 8, d, component, pairs};
  }
};

// What is multiplied in f32, into shared memory by a warp: the columns of one component, `right` [d], and
// `left` [kTokens] of the tokens from `begin` on, zeros where the column has none. A row with a second stage
// (i from kMostRank on) is a component whose left column is 1 at its token. Returns the share.
__device__ inline float stage_component(const CodecView& codec, const CodedReader& block, int i, int n,
                                        int begin, int d, float* right, float* left) {
  if (i >= kMostRank) {
    const SecondRow row = block.second_row(i - kMostRank, d);
    for (int at = 4 * (static_cast<int>(threadIdx.x) % 32); at < d; at += 128) {
      unsigned code[4];
      four_codes(row.codes, d, kSkvSecondBits, at, code);
      *reinterpret_cast<float4*>(right + at) =
          make_float4(__ldg(codec.second_levels + code[0]), __ldg(codec.second_levels + code[1]),
                      __ldg(codec.second_levels + code[2]), __ldg(codec.second_levels + code[3]));
    }
    for (int at = static_cast<int>(threadIdx.x) % 32; at < kTokens; at += 32)
      left[at] = row.token == begin + at ? 1.0f : 0.0f;
    return row.scale * block.unit();
  }
  const int component = __shfl_sync(0xffffffffu, block.component, i),
            before = component_bits_before(component);
  const int width = component & kComponentWidth;
  const FactorLevels levels(codec, width, (component & kComponentWhole) != 0);
  const auto stage = [&](const FactorRows& rows, int first, int count, float* out) {
    const std::uint8_t* const codes = rows.codes + before * rows.bit_bytes;
    for (int at = 4 * (static_cast<int>(threadIdx.x) % 32); at < count; at += 128) {
      float4 four = make_float4(0, 0, 0, 0);
      if (first + at < rows.length) {
        unsigned code[4];
        four_codes(codes, rows.length, width, first + at, code);
        four = make_float4(levels.at(code[0]), levels.at(code[1]), levels.at(code[2]), levels.at(code[3]));
      }
      *reinterpret_cast<float4*>(out + at) = four;
    }
  };
  stage(block.right(d, nullptr), 0, d, right);
  stage(block.left(n, nullptr), begin, kTokens, left);
  return block.share(i);
}

// What this lane multiplies of the queries in whole numbers: in registers, or in shared memory where those do
// not suffice.
template <int D>
struct ByteQueries {
  static constexpr int kSteps = (D + 31) / 32;
  static constexpr bool kShared = D > 128;
  uint2* shared;  // [steps, 32], the same for all warps
  uint2 held[kShared ? 1 : kSteps];
  __device__ __forceinline__ uint2 load(int step) const {
    if constexpr (kShared)
      return shared[32 * step + static_cast<int>(threadIdx.x) % 32];
    else
      return held[step];
  }
  __device__ __forceinline__ void store(int step, uint2 two) {
    if constexpr (kShared)
      shared[32 * step + static_cast<int>(threadIdx.x) % 32] = two;
    else
      held[step] = two;
  }
};

// Tiles of codes to tiles of indices of levels: codes as they are, or trellis codes in the light of those
// before.
template <int bits, bool trellis>
struct CodeTiles {
  __device__ __forceinline__ CodeTiles(const std::uint8_t*, int, int, bool) {}
  __device__ __forceinline__ const Tile<bits> (&indices(const Tile<bits> (&codes)[2]))[2] { return codes; }
};
template <>
struct CodeTiles<2, true> {
  TrellisTiles reader;
  Tile<4> held[2];
  __device__ __forceinline__ CodeTiles(const std::uint8_t* row, int groups, int first, bool there)
      : reader(row, groups, first, there) {}
  __device__ __forceinline__ const Tile<4> (&indices(const Tile<2> (&codes)[2]))[2] {
    reader.expand(codes, held);
    return held;
  }
};

// Sums of whole numbers: tokens' codes times the queries' bytes.
template <int D, int bits, bool trellis = false>
__device__ inline void score_codes(const std::uint8_t* codes, int sixteen, bool there,
                                   const std::uint32_t (&levels)[4], const ByteQueries<D>& queries,
                                   int (&sums)[kProducts][4]) {
  constexpr int kGroups = D / 4;
  const int t = static_cast<int>(threadIdx.x) % 4;
  const std::uint8_t* const row = codes + sixteen * kGroups * 8 * bits;
  CodeTiles<bits, trellis> reader(row, kGroups, 0, there);
  SKV_UNROLL
  for (int step = 0; step < (D + 31) / 32; ++step) {
    Tile<bits> codes_of[2];
    const int at = 8 * step + 2 * t;
    const bool inside = there && at < kGroups;
    const uint2 two = queries.load(step);
    const std::uint32_t query[2] = {two.x, two.y};
    codes_of[0].load(row + at * 8 * bits, inside);
    codes_of[1].load(row + (at + 1) * 8 * bits, inside);
    const auto& tiles = reader.indices(codes_of);
    SKV_UNROLL
    for (int pair = 0; pair < 2; ++pair) {
      std::uint32_t a[4][4];
      tiles[0].expand(levels, 2 * pair, a[0]);
      tiles[0].expand(levels, 2 * pair + 1, a[1]);
      tiles[1].expand(levels, 2 * pair, a[2]);
      tiles[1].expand(levels, 2 * pair + 1, a[3]);
      SKV_UNROLL
      for (int m = 0; m < 4; ++m) {
        const std::uint32_t operand[4] = {a[0][m], a[1][m], a[2][m], a[3][m]};
        device::mma_s8(sums[4 * pair + m], operand, query);
      }
    }
  }
}

// out += step times the sums of whole numbers: channels' codes times probabilities. first_token: of these
// kTokens.
template <int D, int bits, bool trellis = false>
__device__ inline void mix_codes(const std::uint8_t* codes, int n, int first_token,
                                 const std::uint32_t (&levels)[4], const std::uint32_t* probabilities,
                                 const float (&steps)[2], float (&out)[(D + 127) / 128][kProducts][4]) {
  // Places that follow from it would be registers from the kernel's beginning on.
  const int lane = device::not_before(static_cast<int>(threadIdx.x) % 32), g = lane / 4, t = lane % 4,
            groups = (n + 3) / 4;
  SKV_UNROLL
  for (int part = 0; part < (D + 127) / 128; ++part) {
    const int sixteen = kSixteens * part + g;
    const std::uint8_t* const row = codes + sixteen * groups * 8 * bits;
    const auto load = [&](int step, Tile<bits>(&two)[2]) {
      SKV_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int at = first_token / 4 + 8 * step + 2 * t + i;
        two[i].load(row + at * 8 * bits, 16 * sixteen < D && at < groups);
      }
    };
    // 2 bits: all loads are under way together. More would fill the registers; they are loaded twice.
    constexpr bool kAhead = bits == 2 && !trellis && D <= 128;
    Tile<bits> ahead[4][2];
    if constexpr (kAhead) {
      SKV_UNROLL
      for (int step = 0; step < 4; ++step) load(step, ahead[step]);
    }
    SKV_UNROLL
    for (int pair = 0; pair < 2; ++pair) {
      int high[4][4] = {}, low[4][4] = {};
      CodeTiles<bits, trellis> reader(row, groups, first_token / 4, 16 * sixteen < D);
      const auto multiply = [&](int step, const Tile<bits>(&codes_of)[2]) {
        const auto& two = reader.indices(codes_of);
        std::uint32_t a[4][4];
        two[0].expand(levels, 2 * pair, a[0]);
        two[0].expand(levels, 2 * pair + 1, a[1]);
        two[1].expand(levels, 2 * pair, a[2]);
        two[1].expand(levels, 2 * pair + 1, a[3]);
        const uint4 w =
            *reinterpret_cast<const uint4*>(probabilities + probabilities_at(g, 8 * step + 2 * t));
        const std::uint32_t upper[2] = {w.x, w.z}, lower[2] = {w.y, w.w};
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

}  // namespace spectralkv::device_kv
