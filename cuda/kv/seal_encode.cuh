// The second half of sealing: singular vectors, the bytes of each block, and a place for them.
//
//     slots  | K, head 0    | K, head 1    | ...  | V, head 0    | ...     a slot takes the largest block
//              | seal_place: block by block; K and V apart, each head by head
//              v
//     page   | earlier blocks | head 0 | head 1 | ...  used | free  size |
//
// Blocks begin where loads of 16 bytes are aligned (place_of). One that does not fit any more begins the next
// page, which the host has put there before.
#pragma once

#include "cuda/codecs/codecs.cuh"
#include "cuda/device/reduce.cuh"
#include "cuda/kv/seal.h"

namespace spectralkv::device_kv {

// Long and short vectors of every rank of an item, orthonormal, the largest entry of the right one positive,
// into args.factors. Grid: items. Shared: doubles [kWarps].
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_vectors(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x), rank = args.ranks[item], d = args.layer.d, p = args.p;
  const int longer = args.longer, thread = static_cast<int>(threadIdx.x);
  const bool transposed = args.n < d;
  const float* const rows = args.rows_of(item);
  const int step_short = transposed ? d : 1, step_long = transposed ? 1 : d;
  double* const scratch = device::dynamic_shared<double>();
  double* const vectors = args.long_vectors + static_cast<std::int64_t>(item) * kMostRank * longer;
  for (int r = 0; r < rank; ++r) {
    const double* const a = args.vectors + (static_cast<std::int64_t>(item) * kMostRank + r) * p;
    double* const b = vectors + static_cast<std::int64_t>(r) * longer;
    double squares = 0;
    for (int i = thread; i < longer; i += kThreads) {
      double sum = 0;
      for (int j = 0; j < p; ++j) sum += static_cast<double>(rows[i * step_long + j * step_short]) * a[j];
      b[i] = sum;
      squares += sum * sum;
    }
    double scale = 1 / sqrt(device::block_sum(squares, scratch));
    for (int i = thread; i < longer; i += kThreads) b[i] *= scale;
    // The products of two small outliers beside a huge one keep a little of the huge one.
    for (int pass = 0; pass < 2; ++pass) {
      for (int e = 0; e < r; ++e) {
        const double* const earlier = vectors + static_cast<std::int64_t>(e) * longer;
        double dot = 0;
        for (int i = thread; i < longer; i += kThreads) dot += earlier[i] * b[i];
        dot = device::block_sum(dot, scratch);
        for (int i = thread; i < longer; i += kThreads) b[i] -= dot * earlier[i];
      }
      squares = 0;
      for (int i = thread; i < longer; i += kThreads) squares += b[i] * b[i];
      scale = 1 / sqrt(device::block_sum(squares, scratch));
      for (int i = thread; i < longer; i += kThreads) b[i] *= scale;
    }
    // The sign: the first largest magnitude of the right vector.
    const double* const right = transposed ? b : a;
    const int right_length = transposed ? longer : p;
    double top = 0;
    for (int i = thread; i < right_length; i += kThreads) top = device::larger(top, fabs(right[i]));
    top = device::block_max(top, scratch);
    double first = 0;  // rising with an earlier place
    for (int i = thread; i < right_length; i += kThreads)
      if (fabs(right[i]) == top) first = device::larger(first, right_length - i);
    first = device::block_max(first, scratch);
    const double sign = right[right_length - static_cast<int>(first)] < 0 ? -1.0 : 1.0;
    float* const left_out =
        args.factors + (static_cast<std::int64_t>(item) * 2 * kMostRank + r) * args.column;
    float* const right_out = left_out + static_cast<std::int64_t>(kMostRank) * args.column;
    float* const long_out = transposed ? right_out : left_out;
    float* const short_out = transposed ? left_out : right_out;
    for (int i = thread; i < longer; i += kThreads) long_out[i] = static_cast<float>(sign * b[i]);
    for (int i = thread; i < p; i += kThreads) short_out[i] = static_cast<float>(sign * a[i]);
    __syncthreads();
  }
}

// Of codecs that search: what `encode` does before the search. Grid: items. Shared: as seal_encode. With a
// number of blocks the compiler keeps in registers what it spills without one.
template <int kUnused>
__global__ void __launch_bounds__(kThreads, 4) seal_prepare(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x);
  prepare_block(args, item, args.slots + item * args.slot_bytes);
}

// The search, a warp a row of codes. Grid: items, rows by warps. Shared: search_bytes a warp.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_search(const SKV_GRID_CONSTANT SealArgs args) {
  const int warp = static_cast<int>(threadIdx.x) / 32, warps = static_cast<int>(blockDim.x) / 32;
  search_row(args, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y) * warps + warp,
             device::dynamic_shared<std::uint8_t>() + warp * search_bytes(args));
}

// Blocks into the slots. Grid: items. Shared: doubles [kWarps], CodedComponents [kMostRank].
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_encode(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x);
  const std::uint32_t used = encode_block(args, item, args.slots + item * args.slot_bytes);
  if (threadIdx.x == 0) args.used[item] = used;
}

// From the slots into the pages, head by head, of one block. Grid: K and V.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_place(const SKV_GRID_CONSTANT SealArgs args, int block) {
  const int heads = args.layer.heads, which = static_cast<int>(blockIdx.x);
  const SideView& side = args.layer.side[which];
  const StoreView::Side& store = args.store.side[which];
  PageCursor cursor = *store.cursor;
  __syncthreads();
  for (int head = 0; head < heads; ++head) {
    const int item = (block * 2 + which) * heads + head;
    const std::uint8_t* const slot = args.slots + item * args.slot_bytes;
    const std::uint32_t bytes = args.used[item];
    std::uint64_t at = place_of(side.codec(head), args.n, slot, cursor.used);
    if (at + bytes > cursor.size) {
      cursor = {cursor.next, 0, cursor.next_size, nullptr, 0};
      at = place_of(side.codec(head), args.n, slot, 0);
    }
    for (std::uint32_t i = threadIdx.x; i < bytes; i += kThreads) cursor.page[at + i] = slot[i];
    if (threadIdx.x == 0) {
      store.blocks[(args.index + block) * heads + head] = cursor.page + at;
      store.sizes[(args.index + block) * heads + head] = bytes;
    }
    cursor.used = at + bytes;
  }
  if (threadIdx.x == 0) *store.cursor = cursor;
}

// What the paper would count of each of `count` blocks, head by head: bits [count]. Grid: over `count`.
template <int kUnused>
__global__ void __launch_bounds__(kThreads)
    count_paper_bits(const SKV_GRID_CONSTANT LayerView layer, const SKV_GRID_CONSTANT StoreView store,
                     int which, int count, std::uint64_t* bits) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i >= count) return;
  const SideView& side = layer.side[which];
  bits[i] = paper_bits(side.codec(i % layer.heads), layer.d, layer.block_tokens(i / layer.heads),
                       store.side[which].blocks[i], store.side[which].sizes[i]);
}

}  // namespace spectralkv::device_kv
