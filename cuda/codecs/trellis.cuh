// Trellis codes with low-rank parts on a device (formats/trellis.h; kv/codecs/trellis_residual.cc has the
// format). They are found by the search of simd/trellis_scalar.h, a warp a row: lane l has the states l and
// l + 32, and of a step's new ones 2 l and 2 l + 1, which follow from just these.
#pragma once

#include <cstdlib>

#include "cuda/codecs/codes.cuh"
#include "formats/trellis.h"
#include "simd/trellis_ring.h"

namespace spectralkv::device_kv {

static_assert(kTrellisStates == 64, "two states a lane");
constexpr int kSeam = static_cast<int>(kTrellisSeam);

// What a step chose on the way into each state: bit l of word i, the highest path bit of the window that ends
// in state 2 l + i.
struct SearchStep {
  std::uint32_t back[2];
};
// Of the longest row that an item may have, and of a seam.
SKV_HD inline int search_bytes(const SealArgs& args) {
  const int steps = (args.longer + 3) / 4 * 4;
  return (steps < 2 * kSeam ? 2 * kSeam : steps) * static_cast<int>(sizeof(SearchStep));
}

// Points of eight indices from `first` on, a byte each.
constexpr std::uint64_t eight_points(unsigned first) {
  std::uint64_t points = 0;
  for (unsigned i = 0; i < 8; ++i)
    points |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(trellis_point(first + i))) << 8 * i;
  return points;
}

// What an entry costs on the way of sums z: by the nearer one of the two levels, `own` says which.
struct EntryCost {
  int cost;
  bool own;
  __device__ __forceinline__ EntryCost(int value, unsigned z) {
    constexpr std::uint64_t kFirst = eight_points(0), kSecond = eight_points(8);
    const int first = abs(value - static_cast<std::int8_t>(kFirst >> 8 * z)),
              second = abs(value - static_cast<std::int8_t>(kSecond >> 8 * z));
    own = second < first;
    const int distance = own ? second : first, far = distance < kTrellisFar ? distance : kTrellisFar;
    cost = value == kTrellisFree ? 0 : far * far / 4;
  }
};

// A search of a warp over a ring of `steps` points, point(s).
template <class Point>
struct TrellisSearch {
  int steps;
  SearchStep* path;  // [steps, and at least two seams], in shared memory
  const Point& point;

  // The costs of states l and l + 32 behind `count` steps from step `first` of the ring on. start: the state
  // before; -1: any.
  __device__ __forceinline__ void run(int first, int count, int start, int (&cost)[2]) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int sums[4];  // of the windows that end in 2 l and 2 l + 1, without the highest bit and with it
    for (int i = 0; i < 4; ++i)
      sums[i] = static_cast<int>(skv_trellis_sums(static_cast<unsigned>(2 * lane + i % 2) |
                                                  (i < 2 ? 0u : unsigned{kTrellisStates})));
    for (int i = 0; i < 2; ++i) cost[i] = start < 0 || start == lane + 32 * i ? 0 : kTrellisWrongStart;
    int points = 0;  // of 32 steps
    for (int t = 0; t < count; ++t) {
      if (t % 32 == 0) points = point((first + t + lane) % steps);
      const int value = __shfl_sync(0xffffffffu, points, t % 32);
      const int entry = EntryCost(value, static_cast<unsigned>(lane) % 8).cost;
      int ways[4];
      for (int i = 0; i < 4; ++i) ways[i] = cost[i / 2] + __shfl_sync(0xffffffffu, entry, sums[i]);
      int next[2];
      SearchStep step;
      for (int i = 0; i < 2; ++i) {
        const bool back = ways[2 + i] < ways[i];
        next[i] = back ? ways[2 + i] : ways[i];
        step.back[i] = __ballot_sync(0xffffffffu, back);
      }
      if (lane == 0) path[t] = step;
      for (int i = 0; i < 2; ++i) {
        const int even = __shfl_sync(0xffffffffu, next[0], 16 * i + lane / 2),
                  odd = __shfl_sync(0xffffffffu, next[1], 16 * i + lane / 2);
        cost[i] = lane % 2 == 0 ? even : odd;
      }
    }
    __syncwarp();
  }

  // The window that step t chose on the way into a state.
  __device__ __forceinline__ unsigned window(int t, unsigned state) const {
    return state | (path[t].back[state & 1u] >> (state >> 1) & 1u) << kSkvTrellisMemory;
  }

  // Where the ring closes: as trellis_codes of simd/trellis.inl.
  __device__ __forceinline__ unsigned seam() const {
    if (steps < kSkvTrellisMemory) return 0;  // only paths of zeros close
    int cost[2];
    run(steps - kSeam % steps, 2 * kSeam, -1, cost);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int best = cost[1] < cost[0] ? cost[1] * kTrellisStates + lane + 32 : cost[0] * kTrellisStates + lane;
    for (int step = 16; step > 0; step /= 2) {
      const int other = __shfl_xor_sync(0xffffffffu, best, step);
      best = other < best ? other : best;
    }
    auto state = static_cast<unsigned>(best % kTrellisStates);
    for (int t = 2 * kSeam - 1; t >= kSeam; --t) state = window(t, state) >> 1;
    __syncwarp();
    return state;
  }

  // store(s, code | index << 4) for every step.
  template <class Store>
  __device__ __forceinline__ void find(const Store& store) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    unsigned state = seam();
    int cost[2];
    run(0, steps, static_cast<int>(state), cost);
    for (int t = (steps - 1) / 32 * 32; t >= 0; t -= 32) {  // each lane keeps the window of one of 32 steps
      unsigned mine = 0;
      for (int i = steps - t < 32 ? steps - t - 1 : 31; i >= 0; --i) {
        const unsigned all = window(t + i, state);
        if (i == lane) mine = all;
        state = all >> 1;
      }
      if (t + lane >= steps) continue;
      const unsigned sums = skv_trellis_sums(mine), own = EntryCost(point(t + lane), sums).own ? 1 : 0;
      store(t + lane, static_cast<std::uint8_t>((own << 1 | (mine & 1u)) | (own << 3 | sums) << 4));
    }
  }
};

struct TrellisPolicy : FactoredPolicy {
  static void fill(CodecView& view, int d, const CodecForm& form, KvSide side, CodecTables& tables,
                   device::Stream stream);  // codes_view.cu

  __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
    residual8(reader, row, channel, scale_at(reader, row), x);
    add_factors(reader, row, channel, x);
  }
  // Without components; scale: of the row.
  __device__ static void residual8(const RowReader& reader, int row, int channel, float scale,
                                   float (&x)[8]) {
    const CodecView& c = *reader.codec;
    const bool keys = c.coded.order == kSkvTokenTiles;
    const auto depth = static_cast<std::size_t>(keys ? reader.d : reader.n);
    unsigned indices = 0;  // four bits each: one after the other takes few registers
    SKV_UNROLL_NOT
    for (int i = 0; i < 8; ++i) {
      const auto t = static_cast<std::size_t>(row), at = static_cast<std::size_t>(channel + i);
      indices |= skv_trellis_index(reader.base + reader.codes_at, depth, keys ? t : at, keys ? at : t)
                 << 4 * i;
    }
    for (int i = 0; i < 8; ++i) x[i] = scale * level(c, indices >> 4 * i & 15u);
  }

  // Components into the slot, and out of the rows; what is to be drawn is kept.
  __device__ static void prepare(const SealArgs& args, int item, std::uint8_t* slot) {
    const CodecView& codec = args.codec_of(item);
    const int n = args.n, d = args.layer.d, thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    double* const scratch = device::dynamic_shared<double>();
    auto* const components = reinterpret_cast<CodedComponent*>(scratch + kWarps);
    const SecondStage second(args, item, codec);
    encode_components(args, item, codec, second.count, slot, components, scratch);
    for (int t = thread / 32; t < n; t += kWarps) {
      float* const row = args.rows_of(item) + t * d;
      const int drawn = second.place_of(t);
      for (int c = lane; drawn >= 0 && c < d; c += 32) second.kept[drawn * d + c] = row[c];
      take_components(args, item, codec, components, t, row);
      const double norm = norm_of_row(row, d);
      if (lane == 0)
        args.to_points[item * n + t] =
            norm > 0 ? static_cast<float>(40 * sqrt(static_cast<double>(d)) / norm) : 0.0f;
    }
  }

  // A row of codes: of a token of keys, of a channel of values.
  __device__ static void search(const SealArgs& args, int item, int row, std::uint8_t* path) {
    const bool keys = args.codec_of(item).coded.order == kSkvTokenTiles;
    const int n = args.n, d = args.layer.d, groups = ((keys ? d : n) + 3) / 4;
    if (row >= (keys ? n : d)) return;
    const float *const rows = args.rows_of(item), *const to_points = args.to_points + item * n;
    const auto column_of = [groups](int s) { return 4 * (s % groups) + s / groups; };
    const auto point = [&](int s) {
      const int t = keys ? row : column_of(s), c = keys ? column_of(s) : row;
      if (t >= n) return kTrellisFree;
      const float x = rows[t * d + c] * to_points[t];
      const float near = x < -114.0f ? -114.0f : 114.0f < x ? 114.0f : x;
      return static_cast<int>(near + 128.5f) - 128;
    };
    std::uint8_t* const codes = args.codes_of(item) + row * 4 * groups;
    const TrellisSearch<decltype(point)> of_row{4 * groups, reinterpret_cast<SearchStep*>(path), point};
    of_row.find([&](int s, std::uint8_t both) { codes[column_of(s)] = both; });
  }

  // What the search found into the slot.
  __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot) {
    const CodecView& codec = args.codec_of(item);
    const int n = args.n, d = args.layer.d, thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    double* const scratch = device::dynamic_shared<double>();
    auto* const components = reinterpret_cast<CodedComponent*>(scratch + kWarps);
    const SkvFactors factors = skv_factors(codec.plain_width, slot);
    const SkvLowRankPart parts = skv_low_rank_part(d, static_cast<std::size_t>(n), factors);
    if (thread < factors.rank)
      components[thread] = {skv_factor_width(factors, thread), skv_factor_is_whole(factors, thread) != 0,
                            reinterpret_cast<const std::uint16_t*>(slot + parts.shares)[thread]};
    __syncthreads();
    const SecondStage second(args, item, codec);
    const bool keys = codec.coded.order == kSkvTokenTiles;
    const int ring = ((keys ? d : n) + 3) / 4 * 4, row_step = keys ? ring : 1, depth_step = keys ? 1 : ring;
    const std::uint8_t* const codes = args.codes_of(item);
    const RowScaleSlot scales(codec, slot + parts.residual, n);
    const auto level_at = [&](int t, int c) {
      return level(codec, codes[t * row_step + c * depth_step] >> 4);
    };
    for (int t = thread / 32; t < n; t += kWarps) {
      const float* const row = args.rows_of(item) + t * d;
      double row_levels = 0, levels = 0;
      for (int c = lane; c < d; c += 32) {
        const double one = level_at(t, c);
        row_levels += one * static_cast<double>(row[c]);
        levels += one * one;
      }
      const std::uint16_t scale =
          scale_of(codec.scale, codec.distortion, norm_of_row(row, d), row_levels, levels);
      if (lane == 0) scales.set(t, scale);
    }
    __syncthreads();
    scales.settle(n, scratch);
    for (int j = thread / 32; j < second.count; j += kWarps) {
      const int t = second.tokens[j];
      float* const row = args.rows_of(item) + t * d;
      const float scale = skv_row_scale(scales.residual, static_cast<std::size_t>(t));
      for (int c = lane; c < d; c += 32) row[c] = scale * level_at(t, c);
      add_components(args, item, codec, components, t, 1, row);
      encode_second(second, codec, j, d, row, parts, slot);
    }
    __syncthreads();
    pack_second(second, d, parts, slot);
    const std::size_t packed_at = codes_at(parts, slot, n);
    pack_tiles(
        keys ? n : d, ring, 2,
        [&](int row, int column) { return static_cast<std::uint8_t>(codes[row * ring + column] & 3); },
        slot + packed_at);
    return static_cast<std::uint32_t>(packed_at + skv_code_bytes(codec.coded, static_cast<std::size_t>(n)));
  }

 private:
  __device__ static float level(const CodecView& codec, unsigned index) {
    return codec.level_unit *
           static_cast<float>(reinterpret_cast<const std::int8_t*>(codec.level_bytes)[index]);
  }
  // A warp's row [d].
  __device__ static double norm_of_row(const float* row, int d) {
    double squares = 0;
    for (int c = static_cast<int>(threadIdx.x) % 32; c < d; c += 32)
      squares += static_cast<double>(row[c]) * static_cast<double>(row[c]);
    return sqrt(device::warp_sum(squares));
  }
};

}  // namespace spectralkv::device_kv
