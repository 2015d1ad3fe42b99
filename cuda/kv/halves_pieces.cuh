// What attend_halves reads: the pieces of a context, and their way into shared memory.
#pragma once

#include "cuda/kv/attend_ends.cuh"
#include "cuda/kv/attend_halves.h"

namespace spectralkv::device_kv {

static_assert(sizeof(AttendArgs) + sizeof(HalvesPart) <= 4096, "arguments of a kernel");

template <int D, bool few>
struct HalvesShape {
  static constexpr int kFragments = few || D > 128 ? 1 : 2;              // of 16 rows a warp
  static constexpr int kRows = few ? 8 : 16 * kFragments * kWarps;       // that a block of threads has
  static constexpr int kQueryRows = few ? 16 : kRows;                    // in shared memory
  static constexpr int kPiece = few || D > 128 ? 16 : D > 64 ? 32 : 64;  // tokens
  static constexpr int kReaders = few && D > 128 ? 2 : kWarps;  // warps with pieces, where each has its own
  static constexpr int kStride = D + 8;  // values of a row: 16 bytes at one column of 8 rows lie in all banks
  static constexpr int kRowBytes = 2 * kStride;
  static constexpr int kGroup = D % 32 == 0 ? 32 : 16;         // of q8_0: quant_group
  static constexpr int kGroupRow = D / kGroup * (kGroup + 2);  // bytes
  // Of a side: two pieces in turn; of q8_0 as they are stored, and one in f16.
  static constexpr int kHalvesBytes = 2 * kPiece * kRowBytes;
  static constexpr int kGroupsBytes = kPiece * (2 * kGroupRow + kRowBytes);
  static_assert(few || kRows == many_rows(D));
  static_assert(D % 16 == 0 && kPiece * kGroupRow % 16 == 0, "pieces of whole 16 bytes");

  static constexpr int side_bytes(bool groups) {
    return groups && kGroupsBytes > kHalvesBytes ? kGroupsBytes : kHalvesBytes;
  }
  // Shared memory: queries [kQueryRows, kStride], their steps and what they see, then pieces; at the end of
  // `few` the states of the warps instead of these, and then that of join_rows instead of all.
  static constexpr int queries_bytes() { return kQueryRows * kRowBytes + kRows * (4 + 16); }
  static constexpr int shared_bytes(bool groups) {
    const int pieces = (few ? kReaders : 1) * 2 * side_bytes(groups),
              states = few ? kWarps * 8 * (D + 2) * 4 : 0;
    const int reading = queries_bytes() + (pieces > states ? pieces : states);
    return few && join_floats(D) * 4 > reading ? join_floats(D) * 4 : reading;
  }
};

// Positions that a row sees: [from, to), and of sinks [sink_from, sink_to).
struct alignas(16) SeenRange {
  int from, to, sink_from, sink_to;
};

// Some tokens of a block, one after the other.
struct Piece {
  const std::uint8_t* rows[2];  // K, V
  int position, count;          // of the first; how many there are, maybe none
  bool sinks;
};

// Where they lie. In shared memory: while they are multiplied there are no registers for it.
struct PieceSource {
  StoreView store;
  int head, of_block, sink_pieces, first_block;  // positions and blocks are below 2^31
  int last;                                      // position of the last row
};

// The pieces of an item, [begin, end), in rising order.
template <int D, bool few>
struct PieceList {
  static constexpr int kPieceTokens = HalvesShape<D, few>::kPiece;
  const AttendArgs& args;
  const HalvesPart& part;
  const PieceSource& source;
  int begin, end;
  bool exact;

  // t0, t1: positions of the first row and of the last. Thread 0 fills `from`, which is read behind the next
  // barrier.
  __device__ PieceList(const AttendArgs& a, const HalvesPart& p, const PartView& sequence, int head,
                       PieceSource& from, int item, int t0, int t1)
      : args(a), part(p), source(from), exact(item >= sequence.sealed_items) {
    const LayerView& layer = args.layer;
    const auto block = static_cast<int>(layer.block), sliding = static_cast<int>(args.sliding);
    const int of_block = (block + kPieceTokens - 1) / kPieceTokens;
    const auto sealed = static_cast<int>(layer.sealed_for(t1));
    int sink_pieces = 0, first_block = 0, end_block = 0;
    if (exact) {
      if (sealed > 0) sink_pieces = (static_cast<int>(layer.sink) + kPieceTokens - 1) / kPieceTokens;
      first_block = static_cast<int>(layer.sealed_for(t0));
      end_block = t1 / block + 1;
    } else {
      first_block = part.first_block;
      end_block = sealed < part.end_block ? sealed : part.end_block;
    }
    if (sliding > 0 && t0 + 1 > sliding && first_block < (t0 + 1 - sliding) / block)
      first_block = (t0 + 1 - sliding) / block;
    const int blocks = end_block > first_block ? end_block - first_block : 0,
              all = sink_pieces + blocks * of_block;
    const int items = exact ? sequence.exact_items : sequence.sealed_items,
              number = exact ? item - sequence.sealed_items : item, each = (all + items - 1) / items;
    begin = number * each < all ? number * each : all;
    end = begin + each < all ? begin + each : all;
    if (threadIdx.x == 0) from = {sequence.store, head, of_block, sink_pieces, first_block, t1};
  }

  __device__ Piece at(int i) const {
    const LayerView& layer = args.layer;
    const StoreView& store = source.store;
    const int head = source.head;
    if (exact && i < source.sink_pieces) {
      const std::int64_t row = head * layer.sink + i * kPieceTokens;
      const int left = static_cast<int>(layer.sink) - i * kPieceTokens;
      return {{store.side[0].sinks + 2 * row * D, store.side[1].sinks + 2 * row * D},
              i * kPieceTokens,
              left < kPieceTokens ? left : kPieceTokens,
              true};
    }
    const int number = i - source.sink_pieces, offset = number % source.of_block * kPieceTokens;
    const int b = source.first_block + number / source.of_block, block = static_cast<int>(layer.block);
    if (exact) {
      const int position = b * block + offset;
      const std::int64_t row = head * store.ring_tokens + position % static_cast<int>(store.ring_tokens);
      int left = block - offset;
      if (source.last + 1 - position < left) left = source.last + 1 - position;
      return {{store.side[0].ring + 2 * row * D, store.side[1].ring + 2 * row * D},
              position,
              left < kPieceTokens ? left : kPieceTokens,
              false};
    }
    const int n = layer.block_tokens(b), left = n - offset;
    const std::int64_t at = static_cast<std::int64_t>(b - part.first_block) * layer.heads + head;
    const auto block_of = [&](int side) -> const std::uint8_t* {
      return few ? store.side[side].blocks[at] : part.side[side].rows[at];
    };
    Piece piece{{block_of(0), block_of(1)},
                static_cast<int>(layer.block_begin(b)) + offset,
                left < kPieceTokens ? left : kPieceTokens,
                false};
    SKV_UNROLL
    for (int s = 0; s < 2; ++s) piece.rows[s] += offset * row_bytes(s);
    return piece;
  }
  // Of a stored row of K or V.
  __device__ int row_bytes(int side) const {
    return part.side[side].groups ? HalvesShape<D, true>::kGroupRow : 2 * D;
  }
};

// K or V of a piece on its way into shared memory, by `threads` threads of which this is number `thread`.
template <int D, int kPieceTokens, int threads>
__device__ __forceinline__ void fetch_halves(const std::uint8_t* rows, int count, int thread,
                                             std::uint16_t* to) {
  constexpr int kEights = D / 8, kCopies = kPieceTokens * kEights;
  SKV_UNROLL
  for (int first = 0; first < kCopies; first += threads) {
    const int i = first + thread, row = i / kEights, eight = i % kEights;
    if (kCopies % threads != 0 && i >= kCopies) break;
    device::copy16_async(to + row * (D + 8) + 8 * eight, row < count ? rows + 16 * i : rows,
                         row < count ? 16 : 0);
  }
}
// The same of q8_0, as it is stored.
template <int D, int kPieceTokens>
__device__ __forceinline__ void fetch_groups(const std::uint8_t* rows, int count, std::uint8_t* to) {
  constexpr int kRow = HalvesShape<D, true>::kGroupRow;
  for (int at = 16 * (static_cast<int>(threadIdx.x) % 32); at < kPieceTokens * kRow; at += 16 * 32) {
    const int left = count * kRow - at, bytes = left < 0 ? 0 : left < 16 ? left : 16;
    device::copy16_async(to + at, bytes > 0 ? rows + at : rows, bytes);
  }
}

// Rows of q8_0 in shared memory to f16, by a warp.
template <int D, int kPieceTokens>
__device__ __forceinline__ void groups_to_halves(const std::uint8_t* from, std::uint16_t* to) {
  using Shape = HalvesShape<D, true>;
  constexpr int kEights = D / 8;
  for (int i = static_cast<int>(threadIdx.x) % 32; i < kPieceTokens * kEights; i += 32) {
    const int row = i / kEights, channel = i % kEights * 8;
    const auto* const group = reinterpret_cast<const std::uint16_t*>(
        from + row * Shape::kGroupRow + channel / Shape::kGroup * (Shape::kGroup + 2));
    const float scale = device::f16_to_f32(group[0]);
    const std::uint16_t* const codes = group + 1 + channel % Shape::kGroup / 2;
    std::uint32_t pairs[4];
    SKV_UNROLL
    for (int p = 0; p < 4; ++p)
      pairs[p] = halves_within(scale * static_cast<float>(static_cast<std::int8_t>(codes[p] & 255)),
                               scale * static_cast<float>(static_cast<std::int8_t>(codes[p] >> 8)));
    *reinterpret_cast<uint4*>(to + row * Shape::kStride + channel) =
        make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
  }
}

}  // namespace spectralkv::device_kv
