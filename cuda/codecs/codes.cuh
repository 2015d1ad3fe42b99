// Codes with low-rank parts on a device, as eoptshrinkq and turboquant have them (kv/codecs/eoptshrinkq.cc
// has the format). Attention reads those of 2 to 4 bits by the tensor cores (cuda/kv/attend_tiles.cuh), the
// others through load8.
#pragma once

#include "cuda/codecs/policy.cuh"
#include "cuda/device/reduce.cuh"
#include "formats/row_scales.h"
#include "quant/code_math.h"
#include "quant/factor_math.h"

namespace spectralkv::device_kv {

// Where the codes of the residual of a stored block begin, behind a scale a token.
SKV_HD inline std::size_t codes_at(const SkvLowRankPart& parts, const std::uint8_t* block, int n) {
  return parts.residual + skv_scale_bytes(block + parts.residual, static_cast<std::size_t>(n));
}

// Number j of a block's rows with a second stage.
struct SecondRow {
  int token;
  float scale;
  const std::uint8_t* codes;
  // stage: where the second stage of `rows` rows begins.
  __device__ __forceinline__ SecondRow(const std::uint8_t* stage, int rows, int j, int d) {
    const auto* const words = reinterpret_cast<const std::uint16_t*>(stage);
    token = words[j];
    scale = device::f16_to_f32(words[rows + j]);
    codes = stage + 4 * rows + j * (d * kSkvSecondBits / 8);
  }
};

// What the codes of a component stand for.
struct FactorLevels {
  const float* levels;  // null: whole numbers
  float step;           // of those
  __device__ __forceinline__ FactorLevels(const CodecView& codec, int width, bool whole)
      : levels(whole ? nullptr : codec.factor_levels + factor_book(width)),
        step(1.0f / static_cast<float>(1 << (width - 1))) {}
  __device__ __forceinline__ FactorLevels(const CodecView& codec, SkvFactors factors, int r)
      : FactorLevels(codec, skv_factor_width(factors, r), skv_factor_is_whole(factors, r) != 0) {}
  __device__ __forceinline__ float at(unsigned code) const {
    if (levels != nullptr) return __ldg(levels + code);
    return static_cast<float>(code) * step - 1;  // exact: at most 16 bits
  }
};

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
  squares = device::block_sum(squares, scratch);
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
  along = device::block_sum(along, scratch);
  return quantized_column(squares, along, device::block_sum(length, scratch));
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
    top = device::larger(top, fabs(static_cast<double>(column[i])));
  return device::block_max(top, scratch);
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
  const std::int64_t at = (static_cast<std::int64_t>(item) * 2 * kMostRank + r) * args.column,
                     other = at + kMostRank * args.column;
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

// What rows are coded in: the residual, and the second stage.
struct RowBook {
  const float *levels, *boundaries;
  int bits;
  RowScale scale;
  double distortion;
};
__device__ inline RowBook residual_book(const CodecView& codec) {
  return {codec.levels, codec.boundaries, codec.coded.bits, codec.scale, codec.distortion};
}
__device__ inline RowBook second_book(const CodecView& codec) {
  return {codec.second_levels, codec.second_boundaries, kSkvSecondBits, RowScale::least_squares, 0};
}

// The scale of a row in f16, by its length and the sums of its levels (quant/turboquant.h). A warp's sums are
// still its lanes'.
__device__ inline std::uint16_t scale_of(RowScale scale, double distortion, double norm, double row_levels,
                                         double levels) {
  if (scale == RowScale::norm) return saturating_f16(norm);
  if (scale == RowScale::unbiased) return saturating_f16(norm / (1.0 - distortion));
  const double levels_levels = device::warp_sum(levels);
  if (scale == RowScale::length) return saturating_f16(norm / sqrt(levels_levels));
  return saturating_f16(device::warp_sum(row_levels) / levels_levels);
}

// A warp's row [d]: codes, and its scale in f16.
__device__ inline std::uint16_t encode_row(const float* row, int d, const RowBook& book,
                                           std::uint8_t* codes) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  double squares = 0, row_levels = 0, levels = 0;
  for (int c = lane; c < d; c += 32) squares += static_cast<double>(row[c]) * static_cast<double>(row[c]);
  const double norm = sqrt(device::warp_sum(squares)), inverse = norm > 0 ? 1 / norm : 0;
  for (int c = lane; c < d; c += 32) {
    const auto value = static_cast<float>(static_cast<double>(row[c]) * inverse);
    const unsigned code = nearest_code(book.boundaries, book.bits, value);
    codes[c] = static_cast<std::uint8_t>(code);
    const double level = book.levels[code];
    row_levels += static_cast<double>(row[c]) * level;
    levels += level * level;
  }
  return scale_of(book.scale, book.distortion, norm, row_levels, levels);
}

// The scales of a block's rows on their way into its slot: until all are known, f16 where the packed codes
// will stand (formats/coded_block.h).
struct RowScaleSlot {
  std::uint8_t *residual, *halves;
  __device__ RowScaleSlot(const CodecView& codec, std::uint8_t* at, int n) : residual(at), halves(at) {
    const auto tokens = static_cast<std::size_t>(n);
    if (codec.byte_scales && skv_byte_scales_pay(tokens)) halves += skv_byte_scales_bytes(tokens);
  }
  __device__ void set(int t, std::uint16_t scale) const { store_f16(halves + 2 * t, scale); }
  // All threads, behind a barrier; at the end there is another one. scratch: doubles [kWarps], shared.
  __device__ void settle(int n, double* scratch) const {
    if (halves == residual) return;
    const auto scale = [this](int t) {
      return skv_f16_to_f32(static_cast<std::uint16_t>(halves[2 * t] | halves[2 * t + 1] << 8));
    };
    const int thread = static_cast<int>(threadIdx.x);
    double largest = 0;
    for (int t = thread; t < n; t += kThreads)
      largest = device::larger(largest, static_cast<double>(scale(t)));
    largest = device::block_max(largest, scratch);
    for (int t = thread; t < n; t += kThreads)
      residual[2 + t] = skv_scale_byte(scale(t), static_cast<float>(largest));
    if (thread == 0) {
      store_f16(residual, static_cast<std::uint16_t>(saturating_f16(largest) | kSkvByteScales));
      if (n % 2 == 1) residual[2 + n] = 0;
    }
    __syncthreads();
  }
};

// The components of a block of codes into its slot, and what stands before them; `components` [rank] in
// shared memory gets how they are to be read. second: rows with a second stage. Returns where the parts are.
__device__ inline SkvLowRankPart encode_components(const SealArgs& args, int item, const CodecView& codec,
                                                   int second, std::uint8_t* slot, CodedComponent* components,
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
  const SkvLowRankPart parts = skv_low_rank_part_of(
      d, static_cast<std::size_t>(n),
      {rank, codec.plain_width, kSkvLeastHead + (second > 0 ? 2 : 0), second, plain ? nullptr : slot},
      static_cast<std::size_t>(bits));
  __syncthreads();
  if (thread == 0) {
    slot[0] =
        static_cast<std::uint8_t>(rank | (plain ? 0 : kSkvOwnWidths) | (second > 0 ? kSkvSecondStage : 0));
    slot[1] = static_cast<std::uint8_t>(static_cast<std::int8_t>(args.exponents[item]));
    if (second > 0) {
      slot[kSkvLeastHead] = static_cast<std::uint8_t>(second);
      slot[kSkvLeastHead + 1] = 0;
    }
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
        args.factor_codes + column * args.column, is_left ? (n + 15) / 16 * 16 : d, components[r].width,
        slot + (is_left ? parts.left + before * parts.left_bit : parts.right + before * parts.right_bit));
  }
  return parts;
}

// The rows of an item that get a second stage, and their work space.
struct SecondStage {
  int count;
  const std::uint16_t* tokens;  // [count], rising
  float* kept;                  // [count, d]: the rows as they came
  std::uint8_t* codes;          // [count, d]
  __device__ SecondStage(const SealArgs& args, int item, const CodecView& codec) {
    const std::uint16_t* const drawn = args.drawn_of(item);
    const std::int64_t at = static_cast<std::int64_t>(item) * DrawnRows::kMost * args.layer.d;
    count = 0;  // where nobody has chosen, nothing is drawn
    if (codec.second_rows > 0 && args.layer.queries != nullptr)
      count = drawn[0] < codec.second_rows ? drawn[0] : codec.second_rows;
    tokens = drawn + 1;
    kept = args.kept + at;
    codes = args.second_codes + at;
  }
  // Which of them it is; -1: none.
  __device__ __forceinline__ int place_of(int t) const {
    for (int j = 0; j < count; ++j)
      if (tokens[j] == t) return j;
    return -1;
  }
};

// A row of a block: adds its components as they are coded to it, times sign.
__device__ inline void add_components(const SealArgs& args, int item, const CodecView& codec,
                                      const CodedComponent* components, int t, float sign, float* row) {
  const int d = args.layer.d, lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t first = static_cast<std::int64_t>(item) * 2 * kMostRank * args.column,
                     other = kMostRank * args.column;
  for (int r = 0; r < args.ranks[item]; ++r) {
    const std::int64_t at = first + r * args.column;
    const FactorLevels levels(codec, components[r].width, components[r].whole);
    const float left = sign * skv_f16_to_f32(components[r].share) * levels.at(args.factor_codes[at + t]);
    for (int c = lane; c < d; c += 32) row[c] += left * levels.at(args.factor_codes[at + other + c]);
  }
}
// Takes its components away, in an open loop the exact ones.
__device__ inline void take_components(const SealArgs& args, int item, const CodecView& codec,
                                       const CodedComponent* components, int t, float* row) {
  if (codec.closed_loop) return add_components(args, item, codec, components, t, -1, row);
  const int d = args.layer.d, lane = static_cast<int>(threadIdx.x) % 32;
  const std::int64_t first = static_cast<std::int64_t>(item) * 2 * kMostRank * args.column,
                     other = kMostRank * args.column;
  for (int r = 0; r < args.ranks[item]; ++r) {
    const std::int64_t at = first + r * args.column;
    const auto left =
        static_cast<float>(args.phi[item * kMostRank + r] * static_cast<double>(args.factors[at + t]));
    for (int c = lane; c < d; c += 32) row[c] -= left * args.factors[at + other + c];
  }
}

// The codes of a residual, code_at(row, column), into tiles. Columns up to a multiple of 4 are asked for. All
// threads of a block.
template <class CodeAt>
__device__ inline void pack_tiles(int rows, int depth, int bits, const CodeAt& code_at,
                                  std::uint8_t* packed) {
  const int groups = (depth + 3) / 4, tiles = (rows + 15) / 16 * groups;
  for (int i = static_cast<int>(threadIdx.x); i < tiles; i += kThreads) {
    std::uint8_t tile[kSkvTileCodes];
    for (int q = 0; q < kSkvTileCodes; ++q) {
      const int row = i / groups * 16 + q / 4;
      tile[q] = row < rows ? code_at(row, i % groups * 4 + q % 4) : std::uint8_t{0};
    }
    skv_pack_tile(tile, bits, packed + static_cast<std::size_t>(i) * skv_tile_bytes(bits));
  }
}

// What codecs with low-rank parts have in common.
struct FactoredPolicy : EntryByEntry {
  static constexpr bool kScaled = true;
  // Tables of components and of the second stage. codes_view.cu
  static void fill_factors(CodecView& view, int d, const CodecForm& form, CodecTables& tables,
                           device::Stream stream);

  __device__ static void open(RowReader& reader) {
    const CodecView& codec = *reader.codec;
    reader.factors = skv_factors(codec.plain_width, reader.base);
    reader.unit = ldexpf(1.0f, static_cast<std::int8_t>(reader.base[1]));
    const SkvLowRankPart parts =
        skv_low_rank_part(reader.d, static_cast<std::size_t>(reader.n), reader.factors);
    reader.left_at = static_cast<int>(parts.left);
    reader.right_at = static_cast<int>(parts.right);
    reader.scales_at = static_cast<int>(parts.residual);
    reader.codes_at = static_cast<int>(codes_at(parts, reader.base, reader.n));
    reader.second_at = static_cast<int>(parts.second);
  }

  // What the components and the second stage add to channels [channel, channel + 8) of a row.
  __device__ static void add_factors(const RowReader& reader, int row, int channel, float (&x)[8]) {
    const CodecView& c = *reader.codec;
    const std::uint8_t *left_codes = reader.base + reader.left_at,
                       *right_codes = reader.base + reader.right_at;
    const int padded = (reader.n + 15) / 16 * 16;
    for (int r = 0; r < reader.factors.rank; ++r) {
      const int width = skv_factor_width(reader.factors, r);
      const FactorLevels levels(c, reader.factors, r);
      const float left = f16_at(reader, reader.factors.shares_at + 2 * r) * reader.unit *
                         levels.at(skv_packed_code(left_codes, padded, width, row));
      for (int i = 0; i < 8; ++i)
        x[i] += left * levels.at(skv_packed_code(right_codes, reader.d, width, channel + i));
      left_codes += padded / 8 * width;
      right_codes += reader.d / 8 * width;
    }
    for (int j = 0; j < reader.factors.second_rows; ++j) {
      const SecondRow second(reader.base + reader.second_at, reader.factors.second_rows, j, reader.d);
      if (second.token != row) continue;
      for (int i = 0; i < 8; ++i)
        x[i] += second.scale * reader.unit *
                c.second_levels[skv_packed_code(second.codes, reader.d, kSkvSecondBits, channel + i)];
    }
  }
  // What 1 stands for in the residual of a row.
  __device__ static float scale_at(const RowReader& reader, int row) {
    return skv_row_scale(reader.base + reader.scales_at, static_cast<std::size_t>(row)) * reader.unit;
  }

  // What a row with a second stage misses, in f16 steps of it: kept - row, which has been read back.
  __device__ static void encode_second(const SecondStage& second, const CodecView& codec, int drawn, int d,
                                       float* row, const SkvLowRankPart& parts, std::uint8_t* slot) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (int c = lane; c < d; c += 32) row[c] = second.kept[drawn * d + c] - row[c];
    const std::uint16_t scale = encode_row(row, d, second_book(codec), second.codes + drawn * d);
    if (lane == 0) store_f16(slot + parts.second + 2 * static_cast<std::size_t>(second.count + drawn), scale);
  }
  // Tokens and codes of the second stage, which all threads have waited for.
  __device__ static void pack_second(const SecondStage& second, int d, const SkvLowRankPart& parts,
                                     std::uint8_t* slot) {
    const int thread = static_cast<int>(threadIdx.x);
    if (thread >= second.count) return;
    store_f16(slot + parts.second + 2 * thread, second.tokens[thread]);
    skv_pack_codes(second.codes + thread * d, d, kSkvSecondBits,
                   slot + parts.second + 4 * second.count + thread * (d * kSkvSecondBits / 8));
  }

  // Its codes.
  SKV_HD static std::uint64_t aligned_at(const CodecView& view, int n, const std::uint8_t* block) {
    const SkvFactors factors = skv_factors(view.plain_width, block);
    return codes_at(skv_low_rank_part(view.coded.d, static_cast<std::size_t>(n), factors), block, n);
  }
  SKV_HD static std::uint64_t paper_bits(const CodecView& view, int d, int n, const std::uint8_t* block,
                                         std::uint32_t) {
    const SkvFactors factors = skv_factors(view.plain_width, block);
    return static_cast<std::uint64_t>(n) * static_cast<unsigned>(d) * static_cast<unsigned>(view.coded.bits) +
           static_cast<std::uint64_t>(factors.second_rows * kSkvSecondBits * d) +
           static_cast<std::uint64_t>(n + d) * skv_factor_bits_before(factors, factors.rank);
  }

 private:
  __device__ static float f16_at(const RowReader& reader, int offset) {
    return device::f16_to_f32(*reinterpret_cast<const std::uint16_t*>(reader.base + offset));
  }
};

struct CodesPolicy : FactoredPolicy {
  static void fill(CodecView& view, int d, const CodecForm& form, KvSide side, CodecTables& tables,
                   device::Stream stream);  // codes_view.cu

  __device__ static void load8(const RowReader& reader, int row, int channel, float (&x)[8]) {
    const CodecView& c = *reader.codec;
    const auto n = static_cast<std::size_t>(reader.n), t = static_cast<std::size_t>(row);
    const float scale = scale_at(reader, row);
    for (int i = 0; i < 8; ++i)
      x[i] = scale * c.levels[skv_scalar_code(c.coded, reader.base + reader.codes_at, n, t,
                                              static_cast<std::size_t>(channel + i))];
    add_factors(reader, row, channel, x);
  }

  // Shared: doubles [kWarps], CodedComponents [kMostRank].
  __device__ static std::uint32_t encode(const SealArgs& args, int item, std::uint8_t* slot) {
    const CodecView& codec = args.codec_of(item);
    const int n = args.n, d = args.layer.d, thread = static_cast<int>(threadIdx.x), lane = thread % 32;
    double* const scratch = device::dynamic_shared<double>();
    auto* const components = reinterpret_cast<CodedComponent*>(scratch + kWarps);
    const SecondStage second(args, item, codec);
    const SkvLowRankPart parts =
        encode_components(args, item, codec, second.count, slot, components, scratch);
    std::uint8_t* const codes = args.codes_of(item);
    const RowScaleSlot scales(codec, slot + parts.residual, n);
    for (int t = thread / 32; t < n; t += kWarps) {  // a warp's row: what the components leave of it
      float* const row = args.rows_of(item) + t * d;
      const int drawn = second.place_of(t);
      for (int c = lane; drawn >= 0 && c < d; c += 32) second.kept[drawn * d + c] = row[c];
      take_components(args, item, codec, components, t, row);
      const std::uint16_t scale = encode_row(row, d, residual_book(codec), codes + t * d);
      if (lane == 0) scales.set(t, scale);
    }
    __syncthreads();
    scales.settle(n, scratch);
    for (int j = thread / 32; j < second.count; j += kWarps) {  // what all of that misses
      const int t = second.tokens[j];
      float* const row = args.rows_of(item) + t * d;
      const float scale = skv_row_scale(scales.residual, static_cast<std::size_t>(t));
      for (int c = lane; c < d; c += 32) row[c] = scale * codec.levels[codes[t * d + c]];
      add_components(args, item, codec, components, t, 1, row);
      encode_second(second, codec, j, d, row, parts, slot);
    }
    __syncthreads();

    pack_second(second, d, parts, slot);
    const std::size_t packed_at = codes_at(parts, slot, n);
    std::uint8_t* const packed = slot + packed_at;
    const auto bytes =
        static_cast<std::uint32_t>(packed_at + skv_code_bytes(codec.coded, static_cast<std::size_t>(n)));
    if (codec.coded.order == kSkvCodeRows) {
      for (int t = thread; t < n; t += kThreads)
        skv_pack_codes(codes + t * d, d, codec.coded.bits,
                       packed + t * skv_packed_bytes(d, codec.coded.bits));
      return bytes;
    }
    const bool keys = codec.coded.order == kSkvTokenTiles;
    const int depth = keys ? d : n, row_step = keys ? d : 1, depth_step = keys ? 1 : d;
    pack_tiles(
        keys ? n : d, depth, codec.coded.bits,
        [&](int row, int column) {
          return column < depth ? codes[row * row_step + column * depth_step] : std::uint8_t{0};
        },
        packed);
    return bytes;
  }
};

}  // namespace spectralkv::device_kv
