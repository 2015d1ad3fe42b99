// Attention over rows in f16 on the tensor cores: exact tokens, sealed blocks of f16, those of q8_0, and
// sealed blocks of any kind once they are expanded (expand.cuh). Keys and values pass through shared memory
// in pieces of some tokens of a block; the next piece is on its way while one is multiplied. Of a piece a
// warp makes
//
//                     tokens                                 channels
//              +------------------+                     +------------------+
//         rows |        s         | = Q K^T        rows |       out        | += P V
//              +------------------+                     +------------------+
//
// where lane 4 g + t has columns 2 t and 2 t + 1 of rows g and g + 8 of each product [16, 8]; s becomes the
// operand P in place. Two forms:
//
// many  A block of threads reads a piece together, for 16 or 32 rows a warp. Queries and probabilities are
// f16. few   A warp reads pieces of its own, all for the same 8 rows. Rows g + 8 of the operands are what f16
// leaves of
//       rows g, so that queries and probabilities have 22 bits; the two sums are added.
#pragma once

#include "cuda/kv/attend_plain.cuh"
#include "cuda/kv/halves_pieces.cuh"

namespace spectralkv::device_kv {

// One warp's rows: 16 kFragments, of `few` 8 and what f16 leaves of them.
template <int D, bool few>
struct HalvesWarp {
  using Shape = HalvesShape<D, few>;
  static constexpr int F = Shape::kFragments, kHalf = few ? 1 : 2;  // rows of a lane in a fragment
  static constexpr int kTokenTiles = Shape::kPiece / 8, kChannelTiles = D / 8;
  const std::uint16_t* queries;        // [16 F, kStride], in shared memory
  const float* steps;                  // [kHalf 8 F]: what 1 of a query stands for, times log2 e
  const SeenRange* seen;               // [kHalf 8 F]
  float top[F][kHalf], sum[F][kHalf];  // of 2^logit; sum: this lane's share
  float out[F][kChannelTiles][4];

  __device__ void start() {
    SKV_UNROLL
    for (int f = 0; f < F; ++f) {
      SKV_UNROLL
      for (int h = 0; h < kHalf; ++h) {
        top[f][h] = -INFINITY;
        sum[f][h] = 0;
      }
      SKV_UNROLL
      for (int c = 0; c < kChannelTiles; ++c)
        for (int i = 0; i < 4; ++i) out[f][c][i] = 0;
    }
  }

  // keys, values: [kPiece, kStride] in shared memory, zeros behind the last token. masked: some row does not
  // see some token.
  __device__ __forceinline__ void read(const std::uint16_t* keys, const std::uint16_t* values,
                                       const Piece& piece, bool masked) {
    constexpr int kStride = Shape::kStride;
    const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
    // What this lane names of four matrices [8, 8]: of two beside each other below two more, and of two below
    // each other beside two more.
    const int across = (lane / 16 * 8 + lane % 8) * kStride + lane / 8 % 2 * 8,
              down = lane % 16 * kStride + lane / 16 * 8;
    float s[F][kTokenTiles][4];
    SKV_UNROLL
    for (int f = 0; f < F; ++f) {
      SKV_UNROLL
      for (int j = 0; j < kTokenTiles; ++j)
        for (int i = 0; i < 4; ++i) s[f][j][i] = 0;
    }
    SKV_UNROLL
    for (int k = 0; k < D / 16; ++k) {
      std::uint32_t a[F][4];
      SKV_UNROLL
      for (int f = 0; f < F; ++f) device::load_matrices(a[f], queries + 16 * f * kStride + down + 16 * k);
      SKV_UNROLL
      for (int j = 0; j < kTokenTiles; j += 2) {
        std::uint32_t b[4];
        device::load_matrices(b, keys + 8 * j * kStride + across + 16 * k);
        const std::uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        SKV_UNROLL
        for (int f = 0; f < F; ++f) {
          device::mma_f16(s[f][j], a[f], first);
          device::mma_f16(s[f][j + 1], a[f], second);
        }
      }
    }
    if constexpr (few) {
      SKV_UNROLL
      for (int j = 0; j < kTokenTiles; ++j) {
        s[0][j][0] += s[0][j][2];
        s[0][j][1] += s[0][j][3];
      }
    }
    if (masked) {
      SKV_UNROLL
      for (int f = 0; f < F; ++f) {
        SKV_UNROLL
        for (int h = 0; h < kHalf; ++h) {
          const SeenRange range = seen[16 * f + 8 * h + g];
          const int from = (piece.sinks ? range.sink_from : range.from) - piece.position;
          int to = (piece.sinks ? range.sink_to : range.to) - piece.position;
          if (piece.count < to) to = piece.count;
          SKV_UNROLL
          for (int j = 0; j < kTokenTiles; ++j) {
            SKV_UNROLL
            for (int i = 0; i < 2; ++i) {
              const int token = 8 * j + 2 * t + i;
              if (token < from || token >= to) s[f][j][2 * h + i] = -INFINITY;
            }
          }
        }
      }
    }
    float shrink[F][kHalf];
    bool moved = false;
    SKV_UNROLL
    for (int f = 0; f < F; ++f) {
      SKV_UNROLL
      for (int h = 0; h < kHalf; ++h) {
        float here = -INFINITY;
        SKV_UNROLL
        for (int j = 0; j < kTokenTiles; ++j) here = fmaxf(here, fmaxf(s[f][j][2 * h], s[f][j][2 * h + 1]));
        here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 1));
        here = fmaxf(here, __shfl_xor_sync(0xffffffffu, here, 2));
        const float step = steps[16 * f + 8 * h + g], next = fmaxf(top[f][h], here * step),
                    base = next > -INFINITY ? next : 0;
        shrink[f][h] = device::fast_exp2(top[f][h] - base);  // 0 for the first
        moved |= shrink[f][h] != 1;
        top[f][h] = next;
        sum[f][h] *= shrink[f][h];
        SKV_UNROLL
        for (int j = 0; j < kTokenTiles; ++j) {
          SKV_UNROLL
          for (int i = 0; i < 2; ++i) {
            float& x = s[f][j][2 * h + i];
            x = device::fast_exp2(fmaf(x, step, -base));
            sum[f][h] += x;
          }
        }
      }
    }
    if (__any_sync(0xffffffffu, moved)) {
      SKV_UNROLL
      for (int f = 0; f < F; ++f) {
        SKV_UNROLL
        for (int c = 0; c < kChannelTiles; ++c)
          for (int i = 0; i < 4; ++i) out[f][c][i] *= shrink[f][few ? 0 : i / 2];
      }
    }
    SKV_UNROLL
    for (int j = 0; j < kTokenTiles; j += 2) {
      std::uint32_t a[F][4];
      SKV_UNROLL
      for (int f = 0; f < F; ++f) {
        SKV_UNROLL
        for (int i = 0; i < 2; ++i) {
          const float(&p)[4] = s[f][j + i];
          a[f][2 * i] = device::f32x2_to_f16x2(p[0], p[1]);
          if constexpr (few) {
            const float2 rounded = device::f16x2_to_f32x2(a[f][2 * i]);
            a[f][2 * i + 1] = device::f32x2_to_f16x2(p[0] - rounded.x, p[1] - rounded.y);
          } else {
            a[f][2 * i + 1] = device::f32x2_to_f16x2(p[2], p[3]);
          }
        }
      }
      SKV_UNROLL
      for (int c = 0; c < D / 16; ++c) {
        std::uint32_t b[4];
        device::load_matrices_turned(b, values + 8 * j * kStride + down + 16 * c);
        const std::uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
        SKV_UNROLL
        for (int f = 0; f < F; ++f) {
          device::mma_f16(out[f][2 * c], a[f], first);
          device::mma_f16(out[f][2 * c + 1], a[f], second);
        }
      }
    }
  }

  // A state as merges read it, [D + 2]: row 16 f + 8 h + g of this warp. All lanes call.
  __device__ __forceinline__ void store(int f, int h, float* state, bool there) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    float whole = sum[f][h];
    whole += __shfl_xor_sync(0xffffffffu, whole, 1);
    whole += __shfl_xor_sync(0xffffffffu, whole, 2);
    if (!there) return;
    if (t == 0) {
      state[0] = top[f][h] * kLn2;
      state[1] = whole;
    }
    SKV_UNROLL
    for (int c = 0; c < kChannelTiles; ++c) {
      float2 two = make_float2(out[f][c][2 * h], out[f][c][2 * h + 1]);
      if constexpr (few) two.x += out[f][c][2], two.y += out[f][c][3];
      *reinterpret_cast<float2*>(state + 2 + 8 * c + 2 * t) = two;
    }
  }
  // And back, of `many`.
  __device__ __forceinline__ void resume(int f, int h, const float* state) {
    const int t = static_cast<int>(threadIdx.x) % 4;
    top[f][h] = state[0] * kLog2E;
    sum[f][h] = t == 0 ? state[1] : 0;
    SKV_UNROLL
    for (int c = 0; c < kChannelTiles; ++c) {
      const float2 two = *reinterpret_cast<const float2*>(state + 2 + 8 * c + 2 * t);
      out[f][c][2 * h] = two.x;
      out[f][c][2 * h + 1] = two.y;
    }
  }
};

// Queries of a block of threads into shared memory, each over the power of two that its largest value has;
// their steps, and what they see.
template <int D, bool few>
__device__ inline void stage_queries(const AttendArgs& args, bool exact, int pair, int first_row, int count,
                                     std::uint16_t* queries, float* steps, SeenRange* seen) {
  using Shape = HalvesShape<D, few>;
  const LayerView& layer = args.layer;
  const PartView& part = args.part_of(pair);
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const float* const from =
      (exact ? args.plain : args.entered) + (static_cast<std::int64_t>(pair) * args.rows + first_row) * D;
  for (int row = thread / 32; row < Shape::kRows; row += kWarps) {
    float top = 0;
    for (int c = lane; c < D && row < count; c += 32) top = fmaxf(top, fabsf(from[row * D + c]));
    top = device::warp_max(top);
    float unit = __uint_as_float(__float_as_uint(top) & 0x7f800000u);
    if (!(unit > 0 && unit < INFINITY)) unit = 1;
    const float inverse = 1 / unit;
    for (int c = lane; c < D; c += 32) {
      const float x = row < count ? from[row * D + c] * inverse : 0;
      const std::uint16_t half = device::f32_to_f16(x);
      queries[row * Shape::kStride + c] = half;
      if constexpr (few)
        queries[(8 + row) * Shape::kStride + c] = device::f32_to_f16(x - device::f16_to_f32(half));
    }
    if (lane == 0) steps[row] = unit * kLog2E;
  }
  for (int row = thread; row < Shape::kRows; row += kThreads) {
    SeenRange range{0, 0, 0, 0};
    if (row < count) {
      const std::int64_t t = args.position_of(part, first_row + row), sealed = layer.sealed_for(t);
      const std::int64_t least = args.sliding > 0 && t + 1 > args.sliding ? t + 1 - args.sliding : 0,
                         behind = sealed * layer.block;
      range.from = static_cast<int>(exact && behind > least ? behind : least);
      range.to = static_cast<int>(exact ? t + 1 : behind);
      range.sink_from = static_cast<int>(least);
      range.sink_to = static_cast<int>(sealed > 0 ? layer.sink : 0);
    }
    seen[row] = range;
  }
}

// An item, rows [first_row, first_row + count). groups: some side is q8_0.
template <int D, bool few, bool groups>
__device__ __forceinline__ void read_halves(const AttendArgs& args, const HalvesPart& part, int pair,
                                            int item, int first_row, int count) {
  static_assert(few || !groups, "prompts have them expanded");
  using Shape = HalvesShape<D, few>;
  constexpr int kPiece = Shape::kPiece, kStride = Shape::kStride;
  const PartView& sequence = args.part_of(pair);
  __shared__ PieceSource source;
  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32, lane = thread % 32, g = lane / 4;
  const auto t0 = static_cast<int>(args.position_of(sequence, first_row)),
             t1 = static_cast<int>(args.position_of(sequence, first_row + count - 1));
  const PieceList<D, few> list(args, part, sequence, args.head_of(pair), source, item, t0, t1);
  if (part.resume && list.begin == list.end) return;

  auto* const queries = device::dynamic_shared<std::uint16_t>();
  auto* const seen = reinterpret_cast<SeenRange*>(queries + Shape::kQueryRows * kStride);
  auto* const steps = reinterpret_cast<float*>(seen + Shape::kRows);
  auto* const pieces = reinterpret_cast<std::uint8_t*>(queries) + Shape::queries_bytes();
  stage_queries<D, few>(args, list.exact, pair, first_row, count, queries, steps, seen);
  __syncthreads();

  const int warp_row = few ? 0 : warp * 16 * Shape::kFragments;
  HalvesWarp<D, few> state;
  state.queries = queries + warp_row * kStride;
  state.steps = steps + warp_row;
  state.seen = seen + warp_row;
  state.start();
  const auto state_of = [&](int row) { return args.states + args.state_at(pair, item, first_row + row); };
  if constexpr (!few) {
    SKV_UNROLL
    for (int f = 0; f < Shape::kFragments; ++f) {
      SKV_UNROLL
      for (int h = 0; h < 2; ++h) {
        const int row = warp_row + 16 * f + 8 * h + g;
        if (part.resume && row < count) state.resume(f, h, state_of(row));
      }
    }
  }
  // Where all rows see all tokens of a piece.
  const auto block = static_cast<int>(args.layer.block), sliding = static_cast<int>(args.sliding);
  const int all_to = list.exact ? t0 + 1 : static_cast<int>(args.layer.sealed_for(t0)) * block,
            behind = list.exact ? static_cast<int>(args.layer.sealed_for(t1)) * block : 0,
            all_from = sliding > 0 && t1 + 1 - sliding > behind ? t1 + 1 - sliding : behind;

  constexpr int kSide = Shape::side_bytes(groups);
  std::uint8_t* const own = pieces + (few ? warp * 2 * kSide : 0);
  const auto is_groups = [&](int side) { return groups && part.side[side].groups && !list.exact; };
  const auto stage_of = [&](int side, int stage) {
    return own + side * kSide + stage * kPiece * (is_groups(side) ? Shape::kGroupRow : Shape::kRowBytes);
  };
  const auto fetch = [&](int i, int stage) {
    const Piece piece = list.at(i);
    // What follows from it would be registers while pieces are multiplied.
    const int reader = device::not_before(few ? lane : thread);
    SKV_UNROLL
    for (int side = 0; side < 2; ++side) {
      if (is_groups(side))
        fetch_groups<D, kPiece>(piece.rows[side], piece.count, stage_of(side, stage));
      else
        fetch_halves<D, kPiece, few ? 32 : kThreads>(piece.rows[side], piece.count, reader,
                                                     reinterpret_cast<std::uint16_t*>(stage_of(side, stage)));
    }
    device::commit_copies();
  };
  const auto meet = [] {
    if constexpr (few)
      __syncwarp();
    else
      __syncthreads();
  };
  const bool has_rows = warp_row < count;  // others only fetch
  constexpr int kStep = few ? Shape::kReaders : 1;
  int i = list.begin + (few ? warp : 0), stage = 0;
  if (few && warp >= kStep) i = list.end;
  if (i < list.end) fetch(i, stage);
  for (; i < list.end; i += kStep, stage ^= 1) {
    device::wait_for_copies<0>();
    meet();  // this piece is there, and nobody reads the other place any more
    if (i + kStep < list.end) fetch(i + kStep, stage ^ 1);
    const std::uint16_t* rows[2];
    SKV_UNROLL
    for (int side = 0; side < 2; ++side) {
      rows[side] = reinterpret_cast<const std::uint16_t*>(stage_of(side, stage));
      if (is_groups(side)) {
        auto* const halves =
            reinterpret_cast<std::uint16_t*>(own + side * kSide + 2 * kPiece * Shape::kGroupRow);
        groups_to_halves<D, kPiece>(own + side * kSide + stage * kPiece * Shape::kGroupRow, halves);
        rows[side] = halves;
      }
    }
    if constexpr (groups) __syncwarp();  // their f16; the next ones come behind the next meeting
    const Piece piece = list.at(i);
    const bool masked = piece.position < all_from || piece.position + kPiece > all_to || piece.count < kPiece;
    if (has_rows) state.read(rows[0], rows[1], piece, masked);
  }
  if constexpr (few) {
    __syncthreads();  // the pieces become states
    auto* const states = reinterpret_cast<float*>(pieces);
    state.store(0, 0, states + (warp * 8 + g) * (D + 2), true);
    __syncthreads();
    merge_warps(args, states, 8, count, pair, item, first_row);
  } else {
    SKV_UNROLL
    for (int f = 0; f < Shape::kFragments; ++f) {
      SKV_UNROLL
      for (int h = 0; h < 2; ++h) {
        const int row = warp_row + 16 * f + 8 * h + g;
        state.store(f, h, state_of(row < count ? row : 0), row < count);
      }
    }
  }
}

// Grid: items, pairs, rows / Shape::kRows. Shared: Shape::shared_bytes.
template <int D, bool few, bool groups>
__global__ void __launch_bounds__(kThreads, 2)
    attend_halves(const SKV_GRID_CONSTANT AttendArgs args, const SKV_GRID_CONSTANT HalvesPart part) {
  using Shape = HalvesShape<D, few>;
  const int pair = static_cast<int>(blockIdx.y);
  const PartView& sequence = args.part_of(pair);
  const int item = static_cast<int>(blockIdx.x) + (part.exact_alone ? sequence.sealed_items : 0);
  const int first_row = part.first_row + static_cast<int>(blockIdx.z) * Shape::kRows,
            left = part.end_row - first_row, count = left < Shape::kRows ? left : Shape::kRows;
  if (item < sequence.sealed_items + sequence.exact_items)
    read_halves<D, few, groups>(args, part, pair, item, first_row, count);
  if constexpr (few) join_if_last(args, pair, first_row, count, device::dynamic_shared<float>());
}

}  // namespace spectralkv::device_kv
