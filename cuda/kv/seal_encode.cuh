// The second half of sealing: singular vectors, factors, the residual's codes, and a place for each block.
#pragma once

#include "cuda/kv/reduce.cuh"
#include "cuda/kv/seal.h"
#include "cuda/kv/seal_rows.cuh"
#include "kv/codecs/quant_groups.h"
#include "quant/code_math.h"
#include "quant/factor_math.h"

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
    const double* const a = args.gram + (static_cast<std::int64_t>(item) * p + p - 1 - r) * p;
    double* const b = vectors + static_cast<std::int64_t>(r) * longer;
    double squares = 0;
    for (int i = thread; i < longer; i += kThreads) {
      double sum = 0;
      for (int j = 0; j < p; ++j) sum += static_cast<double>(rows[i * step_long + j * step_short]) * a[j];
      b[i] = sum;
      squares += sum * sum;
    }
    double scale = 1 / sqrt(block_sum(squares, scratch));
    for (int i = thread; i < longer; i += kThreads) b[i] *= scale;
    // The products of two small outliers beside a huge one keep a little of the huge one.
    for (int pass = 0; pass < 2; ++pass) {
      for (int e = 0; e < r; ++e) {
        const double* const earlier = vectors + static_cast<std::int64_t>(e) * longer;
        double dot = 0;
        for (int i = thread; i < longer; i += kThreads) dot += earlier[i] * b[i];
        dot = block_sum(dot, scratch);
        for (int i = thread; i < longer; i += kThreads) b[i] -= dot * earlier[i];
      }
      squares = 0;
      for (int i = thread; i < longer; i += kThreads) squares += b[i] * b[i];
      scale = 1 / sqrt(block_sum(squares, scratch));
      for (int i = thread; i < longer; i += kThreads) b[i] *= scale;
    }
    // The sign: the first largest magnitude of the right vector.
    const double* const right = transposed ? b : a;
    const int right_length = transposed ? longer : p;
    double top = 0;
    for (int i = thread; i < right_length; i += kThreads) top = larger(top, fabs(right[i]));
    top = block_max(top, scratch);
    double first = 0;  // rising with an earlier place
    for (int i = thread; i < right_length; i += kThreads)
      if (fabs(right[i]) == top) first = larger(first, right_length - i);
    first = block_max(first, scratch);
    const double sign = right[right_length - static_cast<int>(first)] < 0 ? -1.0 : 1.0;
    float* const left_out = args.factors + (static_cast<std::int64_t>(item) * 2 * kMostRank + r) * longer;
    float* const right_out = left_out + static_cast<std::int64_t>(kMostRank) * longer;
    float* const long_out = transposed ? right_out : left_out;
    float* const short_out = transposed ? left_out : right_out;
    for (int i = thread; i < longer; i += kThreads) long_out[i] = static_cast<float>(sign * b[i]);
    for (int i = thread; i < p; i += kThreads) short_out[i] = static_cast<float>(sign * a[i]);
    __syncthreads();
  }
}

__device__ inline void store_f16(std::uint8_t* at, std::uint16_t half) {
  at[0] = static_cast<std::uint8_t>(half);
  at[1] = static_cast<std::uint8_t>(half >> 8);
}

// Codes of a factor's column [count] in a codebook, zeros behind it up to `padded` (quant/factors.h).
__device__ inline QuantizedColumn encode_factor(const float* column, int count, int padded,
                                                const CodecView& codec, int bits, std::uint16_t* codes,
                                                double* scratch) {
  double squares = 0, along = 0, length = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    squares += static_cast<double>(column[i]) * static_cast<double>(column[i]);
  squares = block_sum(squares, scratch);
  const double deviation = sqrt(squares / count);
  const float* const levels = codec.factor_levels + factor_book(bits);
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += kThreads) {
    if (i >= count) {
      codes[i] = 0;
      continue;
    }
    const float value = deviation > 0 ? static_cast<float>(static_cast<double>(column[i]) / deviation) : 0.0f;
    const unsigned code = nearest_code(codec.factor_boundaries + factor_book(bits), bits, value);
    const double level = levels[code];
    codes[i] = static_cast<std::uint16_t>(code);
    along += static_cast<double>(column[i]) * level;
    length += level * level;
  }
  along = block_sum(along, scratch);
  return quantized_column(squares, along, block_sum(length, scratch));
}

// The same in whole numbers of a unit (quant/factor_math.h).
__device__ inline void round_factor(const float* column, int count, int padded, double unit, int width,
                                    std::uint16_t* codes) {
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += kThreads)
    codes[i] = i < count ? whole_code(column[i], unit, width) : std::uint16_t{0};
}
__device__ inline double largest_of(const float* column, int count, double* scratch) {
  double top = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads)
    top = larger(top, fabs(static_cast<double>(column[i])));
  return block_max(top, scratch);
}

// One component: codes, and how they are to be read (kv/codecs/factor_codes.h). All threads call, all get it.
struct CodedComponent {
  int width;
  bool whole;
  std::uint16_t share;
};
__device__ inline CodedComponent encode_component(const SealArgs& args, int item, int r,
                                                  const CodecView& codec, double* scratch) {
  const int n = args.n, d = args.layer.d, wide = (n + 15) / 16 * 16;
  const std::int64_t at = (static_cast<std::int64_t>(item) * 2 * kMostRank + r) * args.longer,
                     other = at + kMostRank * args.longer;
  const float *const left = args.factors + at, *const right = args.factors + other;
  const double size = args.phi[item * kMostRank + r], energy = size * size, allowed = args.allowed[item];
  CodedComponent coded{codec.plain_width, false, 0};
  const auto by_codebook = [&](int width) {
    const QuantizedColumn a = encode_factor(left, n, wide, codec, width, args.factor_codes + at, scratch);
    const QuantizedColumn b = encode_factor(right, d, d, codec, width, args.factor_codes + other, scratch);
    coded.width = width;
    coded.share = saturating_f16(size * static_cast<double>(skv_f16_to_f32(a.scale)) *
                                 static_cast<double>(skv_f16_to_f32(b.scale)));
    return a.error + b.error;
  };
  if (!codec.own_widths) {
    by_codebook(coded.width);
    return coded;
  }
  const auto distortion = [&](int width) { return args.distortion[width]; };
  if (codebook_width(energy, allowed, distortion, by_codebook) != 0) return coded;
  const double top_left = largest_of(left, n, scratch), top_right = largest_of(right, d, scratch);
  coded.whole = true;
  coded.width = whole_width(energy, allowed, top_left, n, top_right, d);
  const WholeComponent whole = whole_component(size, top_left, top_right, coded.width);
  coded.share = whole.share;
  round_factor(left, n, wide, whole.unit_left, coded.width, args.factor_codes + at);
  round_factor(right, d, d, whole.unit_right, coded.width, args.factor_codes + other);
  return coded;
}

// A warp's row [d]: codes, and its scale in f16 (quant/turboquant.h).
__device__ inline std::uint16_t encode_row(const float* row, int d, const CodecView& codec,
                                           std::uint8_t* codes) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  double squares = 0, row_levels = 0, levels = 0;
  for (int c = lane; c < d; c += 32) squares += static_cast<double>(row[c]) * static_cast<double>(row[c]);
  const double norm = sqrt(warp_sum_double(squares)), inverse = norm > 0 ? 1 / norm : 0;
  for (int c = lane; c < d; c += 32) {
    const auto value = static_cast<float>(static_cast<double>(row[c]) * inverse);
    const unsigned code = nearest_code(codec.boundaries, codec.coded.bits, value);
    codes[c] = static_cast<std::uint8_t>(code);
    const double level = codec.levels[code];
    row_levels += static_cast<double>(row[c]) * level;
    levels += level * level;
  }
  if (codec.scale == RowScale::norm) return saturating_f16(norm);
  if (codec.scale == RowScale::unbiased) return saturating_f16(norm / (1.0 - codec.distortion));
  const double levels_levels = warp_sum_double(levels);
  if (codec.scale == RowScale::length) return saturating_f16(norm / sqrt(levels_levels));
  return saturating_f16(warp_sum_double(row_levels) / levels_levels);
}

// The components of a block of codes into its slot, and what stands before them; `components` [rank] in
// shared memory gets how they are to be read. Returns where the parts are.
__device__ inline SkvLowRankPart encode_components(const SealArgs& args, int item, const CodecView& codec,
                                                   std::uint8_t* slot, CodedComponent* components,
                                                   double* scratch) {
  const int n = args.n, d = args.layer.d, rank = args.ranks[item], thread = static_cast<int>(threadIdx.x);
  int bits = 0;
  bool plain = true;
  for (int r = 0; r < rank; ++r) {
    const CodedComponent coded = encode_component(args, item, r, codec, scratch);
    bits += coded.width;
    plain &= coded.width == codec.plain_width && !coded.whole;
    if (thread == 0) components[r] = coded;
  }
  const SkvLowRankPart parts =
      skv_low_rank_part_of(d, static_cast<std::size_t>(n), static_cast<std::size_t>(rank), plain ? 0 : 1,
                           static_cast<std::size_t>(bits));
  __syncthreads();
  if (thread == 0) {
    slot[0] = static_cast<std::uint8_t>(plain ? rank : rank | kSkvOwnWidths);
    slot[1] = static_cast<std::uint8_t>(static_cast<std::int8_t>(args.exponents[item]));
    args.used[item] =
        static_cast<std::uint32_t>(parts.residual + skv_norm_bytes(static_cast<std::size_t>(n)) +
                                   skv_code_bytes(codec.coded, static_cast<std::size_t>(n)));
    for (int r = 0; r < rank; ++r) store_f16(slot + parts.shares + 2 * r, components[r].share);
    std::uint8_t* const widths = slot + parts.shares + 2 * rank;
    for (int r = 0; !plain && r < (rank + 1) / 2 * 2; ++r)
      widths[r] = r < rank ? static_cast<std::uint8_t>(components[r].width) : std::uint8_t{0};
  }
  if (thread < 2 * rank) {
    const int r = thread % rank;
    const bool is_left = thread < rank;
    std::size_t before = 0;
    for (int i = 0; i < r; ++i) before += static_cast<std::size_t>(components[i].width);
    const std::int64_t column = (static_cast<std::int64_t>(item) * 2 + (is_left ? 0 : 1)) * kMostRank + r;
    skv_pack_codes(
        args.factor_codes + column * args.longer, is_left ? (n + 15) / 16 * 16 : d, components[r].width,
        slot + (is_left ? parts.left + before * parts.left_bit : parts.right + before * parts.right_bit));
  }
  return parts;
}

// A block of codes into its slot. Grid: items. Shared: doubles [kWarps], CodedComponents [kMostRank].
__device__ inline void encode_codes(const SealArgs& args, int item, const CodecView& codec,
                                    std::uint8_t* slot) {
  const int n = args.n, d = args.layer.d, rank = args.ranks[item], thread = static_cast<int>(threadIdx.x);
  double* const scratch = device::dynamic_shared<double>();
  auto* const components = reinterpret_cast<CodedComponent*>(scratch + kWarps);
  const SkvLowRankPart parts = encode_components(args, item, codec, slot, components, scratch);
  const int longer = args.longer;
  const std::int64_t first = static_cast<std::int64_t>(item) * 2 * kMostRank * longer,
                     other = kMostRank * longer;
  float* const rows = args.rows_of(item);
  std::uint8_t* const codes = args.codes + static_cast<std::int64_t>(item) * n * d;
  for (int t = thread / 32; t < n; t += kWarps) {
    float* const row = rows + t * d;
    for (int r = 0; r < rank; ++r) {
      const std::int64_t at = first + r * longer;
      if (codec.closed_loop) {
        const FactorLevels levels(codec, components[r].width, components[r].whole);
        const float left = skv_f16_to_f32(components[r].share) * levels.at(args.factor_codes[at + t]);
        for (int c = thread % 32; c < d; c += 32)
          row[c] -= left * levels.at(args.factor_codes[at + other + c]);
      } else {
        const auto left =
            static_cast<float>(args.phi[item * kMostRank + r] * static_cast<double>(args.factors[at + t]));
        for (int c = thread % 32; c < d; c += 32) row[c] -= left * args.factors[at + other + c];
      }
    }
    const std::uint16_t scale = encode_row(row, d, codec, codes + t * d);
    if (thread % 32 == 0) store_f16(slot + parts.residual + 2 * t, scale);
  }
  __syncthreads();

  std::uint8_t* const packed = slot + parts.residual + skv_norm_bytes(static_cast<std::size_t>(n));
  if (codec.coded.order == kSkvCodeRows) {
    for (int t = thread; t < n; t += kThreads)
      skv_pack_codes(codes + t * d, d, codec.coded.bits, packed + t * skv_packed_bytes(d, codec.coded.bits));
    return;
  }
  const bool keys = codec.coded.order == kSkvTokenTiles;
  const int tile_rows = keys ? n : d, depth = keys ? d : n, groups = (depth + 3) / 4;
  const int row_step = keys ? d : 1, depth_step = keys ? 1 : d;
  const int tiles = (tile_rows + 15) / 16 * groups;
  for (int i = thread; i < tiles; i += kThreads) {
    std::uint8_t tile[kSkvTileCodes];
    for (int q = 0; q < kSkvTileCodes; ++q) {
      const int row = i / groups * 16 + q / 4, column = i % groups * 4 + q % 4;
      tile[q] =
          row < tile_rows && column < depth ? codes[row * row_step + column * depth_step] : std::uint8_t{0};
    }
    skv_pack_tile(tile, codec.coded.bits,
                  packed + static_cast<std::size_t>(i) * skv_tile_bytes(codec.coded.bits));
  }
}

template <class Group>
__device__ inline std::uint32_t encode_groups(const SealArgs& args, int item, std::uint8_t* slot) {
  const int d = args.layer.d, g = quant_group(d), groups = args.n * (d / g);
  for (int i = static_cast<int>(threadIdx.x); i < groups; i += kThreads)
    Group::encode(args.rows_of(item) + static_cast<std::int64_t>(i) * g, g, slot + i * Group::bytes(g));
  return static_cast<std::uint32_t>(groups * Group::bytes(g));
}

__device__ inline std::uint32_t encode_kivi(const SealArgs& args, int item, const KiviFormat& format,
                                            std::uint8_t* slot) {
  const int n = args.n, d = format.d, thread = static_cast<int>(threadIdx.x);
  const float* const rows = args.rows_of(item);
  std::uint8_t* const groups = slot + n * format.row_bytes();
  for (int g = thread; g < format.groups(n); g += kThreads) format.take_range(rows, d, n, g, groups);
  __syncthreads();
  std::uint8_t* const codes = args.codes + static_cast<std::int64_t>(item) * n * d;
  for (int t = thread; t < n; t += kThreads) {
    for (int c = 0; c < d; ++c)
      codes[t * d + c] = format.code(format.range_of(groups, format.group_of(t, c)), rows[t * d + c]);
    skv_pack_codes(codes + t * d, d, format.bits, slot + t * format.row_bytes());
  }
  return static_cast<std::uint32_t>(format.bytes(n));
}

template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_encode(const SKV_GRID_CONSTANT SealArgs args) {
  const int item = static_cast<int>(blockIdx.x), values = args.n * args.layer.d;
  const CodecView& codec = args.side_of(item).codec;
  std::uint8_t* const slot = args.slots + item * args.slot_bytes;
  std::uint32_t used = 0;
  if (codec.kind == CodecForm::Kind::codes) {
    encode_codes(args, item, codec, slot);
    return;
  }
  if (codec.kind == CodecForm::Kind::q8_0) {
    used = encode_groups<Q8Group>(args, item, slot);
  } else if (codec.kind == CodecForm::Kind::q4_0) {
    used = encode_groups<Q4Group>(args, item, slot);
  } else if (codec.kind == CodecForm::Kind::kivi) {
    used = encode_kivi(args, item, codec.kivi, slot);
  } else {
    const bool f32 = codec.kind == CodecForm::Kind::f32;
    for (int i = static_cast<int>(threadIdx.x); i < values; i += kThreads) {
      if (f32)
        reinterpret_cast<float*>(slot)[i] = args.rows_of(item)[i];
      else
        reinterpret_cast<std::uint16_t*>(slot)[i] = device::f32_to_f16(args.rows_of(item)[i]);
    }
    used = static_cast<std::uint32_t>(exact_bytes(f32, values));
  }
  if (threadIdx.x == 0) args.used[item] = used;
}

// Where an item's bytes begin in a page that is used up to `used`: its codes at a multiple of 16 (of a block
// without codes: all of it), so that kernels load 16 bytes at once.
SKV_HD inline std::uint64_t place_of(const CodecView& codec, int n, const std::uint8_t* block,
                                     std::uint64_t used) {
  std::uint64_t codes = 0;
  if (codec.kind == CodecForm::Kind::codes)
    codes =
        skv_low_rank_part(codec.coded.d, static_cast<std::size_t>(n), skv_factors(codec.plain_width, block))
            .residual +
        skv_norm_bytes(static_cast<std::size_t>(n));
  return (used + codes + 15) / 16 * 16 - codes;
}

// From the slots into the pages, head by head. Grid: K and V. The host has made sure of the room.
template <int kUnused>
__global__ void __launch_bounds__(kThreads) seal_place(const SKV_GRID_CONSTANT SealArgs args) {
  const int heads = args.layer.heads, which = static_cast<int>(blockIdx.x);
  const SideView& side = args.layer.side[which];
  PageCursor cursor = *side.cursor;
  __syncthreads();
  for (int head = 0; head < heads; ++head) {
    const int item = which * heads + head;
    const std::uint8_t* const slot = args.slots + item * args.slot_bytes;
    const std::uint32_t bytes = args.used[item];
    std::uint64_t at = place_of(side.codec, args.n, slot, cursor.used);
    if (at + bytes > cursor.size) {
      cursor = {cursor.next, 0, cursor.next_size, nullptr, 0};
      at = place_of(side.codec, args.n, slot, 0);
    }
    for (std::uint32_t i = threadIdx.x; i < bytes; i += kThreads) cursor.page[at + i] = slot[i];
    if (threadIdx.x == 0) {
      side.blocks[args.index * heads + head] = cursor.page + at;
      side.sizes[args.index * heads + head] = bytes;
    }
    cursor.used = at + bytes;
  }
  if (threadIdx.x == 0) *side.cursor = cursor;
}

// The first bytes of each block, zeros behind its end: heads [blocks, kHeadBytes]. Grid: blocks.
template <int kUnused>
__global__ void __launch_bounds__(64)
    read_heads(const std::uint8_t* const* blocks, const std::uint32_t* sizes, std::uint8_t* heads) {
  static_assert(kHeadBytes <= 64);
  const unsigned i = threadIdx.x;
  if (i < kHeadBytes)
    heads[blockIdx.x * kHeadBytes + i] = i < sizes[blockIdx.x] ? blocks[blockIdx.x][i] : std::uint8_t{0};
}

}  // namespace spectralkv::device_kv
