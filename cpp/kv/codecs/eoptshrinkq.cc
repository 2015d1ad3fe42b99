// A block of n tokens and head dim d, rotated by Pi, is stored as
//
//     Y T Pi^T  =  2^e ( sum over i < r of g_i a_i b_i^T  +  R  +  S )
//
// T is the head's metric (codec_space.h), or nothing. a_i [n] and b_i [d] are a component's columns, levels
// of the Gaussian codebook of its width or whole numbers (formats/coded_block.h), R [n, d] what the quantiser
// made of the residual, S [n, d] what the few rows that have a second stage still miss, and 0 in the others.
// Everything lives in codec space: the right singular vectors are those of the turned block.
//
//     offset      bytes                     what
//     0           1                         r, the rank; 0x80 more where components have widths of their own,
//                                           0x40 more where rows have a second stage
//     1           1                         e, signed: brings the largest row norm into [2^12, 2^13), so that
//                                           neither g nor a norm of R leaves the range of f16, at 1e4 or at
//                                           1e-6
//     2           2                         the number m of those rows, and 0; not there without them
//     ...         2 r                       g (f16), the shares: the singular value times the scales of both
//                                           columns
//     ...         r, and 1 if r is odd      w_i, the widths; not there where all have `factor_bits`
//     ...         sum of n' w_i / 8         codes of a_i, n' = n rounded up to 16 (anything behind the last)
//     ...         sum of d w_i / 8          codes of b_i
//     ...         m (4 + d / 2)             S: tokens (u16), scales (f16), 4-bit codes; not there without
//     rows
//     ...         as R takes                R (residual_quantiser.h)
//
// Rows of factor codes are those of formats/bitpack.h. Every part, and so every block, has an even number of
// bytes, and a block starts at an even address: the f16 numbers are aligned.
#include "kv/codecs/eoptshrinkq.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "formats/coded_block.h"
#include "kv/codecs/codec_space.h"
#include "kv/codecs/factor_codes.h"
#include "kv/codecs/shared_tables.h"
#include "quant/code_math.h"
#include "quant/row_math.h"
#include "simd/dispatch.h"
#include "spectral/edge.h"
#include "spectral/eoptshrink.h"

namespace spectralkv {
namespace {

std::int64_t padded(std::int64_t n) {
  return (n + 15) / 16 * 16;
}

double row_norm(const float* row, std::int64_t d) {
  return std::sqrt(dot_in_double(row, row, static_cast<int>(d)));
}

class EOptShrinkQCodec final : public Codec {
 public:
  EOptShrinkQCodec(std::int64_t head_dim, const EOptShrinkQOptions& options, ConstMatrix metric,
                   std::unique_ptr<const ResidualQuantiser> residual, std::string text)
      : Codec(head_dim),
        options_(options),
        text_(std::move(text)),
        space_(make_space(shared_rotation(options.rotation, static_cast<int>(head_dim)), metric)),
        second_book_(shared_unit_codebook(static_cast<int>(head_dim), kSkvSecondBits)),
        factors_(options.factor_bits),
        residual_(std::move(residual)) {}

  std::string spec() const override { return text_; }
  CodecForm form() const override {
    CodecForm form;
    form.rotated = true;
    form.rotation = options_.rotation;
    form.factor_bits = options_.factor_bits;
    form.factor = options_.factor;
    form.loss = options_.loss;
    form.closed_loop = options_.closed_loop;
    form.second_rows = options_.second_rows;
    form.place = space_.place_matrix();
    form.enter = space_.enter_matrix();
    residual_->describe(form);
    return form;
  }

  std::int64_t max_bytes(std::int64_t n) const override {
    const std::vector<std::uint8_t> widths(static_cast<std::size_t>(max_rank(n)),
                                           static_cast<std::uint8_t>(factors_.most_width()));
    const SkvFactors most{static_cast<int>(max_rank(n)), factors_.plain_width(),
                          kSkvLeastHead + (options_.second_rows > 0 ? 2 : 0), options_.second_rows,
                          factors_.own_widths() ? widths.data() : nullptr};
    return residual_at(n, most) + residual_->max_bytes(n);
  }

  bool valid(const std::byte* in, std::int64_t n, std::int64_t size) const override {
    if (size < kSkvLeastHead + 2) return false;
    const SkvFactors factors = factors_of(in);
    if (factors.rank > max_rank(n) || factors.second_rows > options_.second_rows ||
        size < factors.shares_at + 3 * factors.rank)
      return false;
    for (int i = 0; factors.widths != nullptr && i < factors.rank; ++i)
      if (!factors_.knows_width(factors.widths[i])) return false;
    const std::int64_t at = residual_at(n, factors);
    if (at > size || !residual_->valid(in + at, n, size - at)) return false;
    const View v = view(in, n);
    return std::all_of(v.tokens, v.tokens + factors.second_rows, [n](std::uint16_t t) { return t < n; });
  }

  double paper_bits(const std::byte* in, std::int64_t n, std::int64_t size) const override {
    const SkvFactors factors = factors_of(in);
    const std::int64_t at = residual_at(n, factors);
    return residual_->paper_bits(in + at, n, size - at) +
           static_cast<double>(factors.second_rows * kSkvSecondBits * head_dim()) +
           static_cast<double>(n + head_dim()) *
               static_cast<double>(skv_factor_bits_before(factors, factors.rank));
  }

  Summary summary(const std::byte* in) const override {
    const SkvFactors factors = factors_of(in);
    return {factors.rank, static_cast<int>(skv_factor_bits_before(factors, factors.rank)), options_.bits,
            factors.second_rows};
  }

  void enter(ConstMatrix x, Matrix out) const override { space_.enter(x, out); }
  void leave(ConstMatrix x, Matrix out) const override { space_.leave(x, out); }

  std::int64_t encode(ConstMatrix block, const SealContext& context, std::byte* out,
                      CodecWork& work) const override;
  void encode_all(std::span<SealItem> items, CodecWork& work) const override;
  void decode(const std::byte* in, std::int64_t n, Matrix out) const override;
  void score(const std::byte* in, std::int64_t n, const Queries& q, Matrix s, CodecWork& work) const override;
  void mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const override;

 private:
  // The parts of a stored block.
  struct View {
    SkvFactors factors{};
    float unit = 1;  // 2^e
    const std::uint8_t *left = nullptr, *right = nullptr;
    const std::uint16_t* shares = nullptr;
    // Of the second stage: tokens and scales [second_rows], and their codes.
    const std::uint16_t *tokens = nullptr, *scales = nullptr;
    const std::uint8_t* codes = nullptr;
    const std::byte* residual = nullptr;
  };

  static CodecSpace make_space(const CacheRotation& rotation, ConstMatrix metric) {
    return metric.data == nullptr ? CodecSpace(rotation) : CodecSpace(rotation, metric);
  }

  SkvFactors factors_of(const std::byte* in) const {
    return skv_factors(factors_.plain_width(), reinterpret_cast<const std::uint8_t*>(in));
  }
  SkvLowRankPart parts(std::int64_t n, SkvFactors factors) const {
    return skv_low_rank_part(static_cast<int>(head_dim()), static_cast<std::size_t>(n), factors);
  }
  std::int64_t residual_at(std::int64_t n, SkvFactors factors) const {
    return static_cast<std::int64_t>(parts(n, factors).residual);
  }
  std::int64_t second_row_bytes() const { return head_dim() * kSkvSecondBits / 8; }
  std::int64_t max_rank(std::int64_t n) const {
    const int k = edge_window(static_cast<int>(head_dim()));
    return options_.factor && std::min(n, head_dim()) >= 3 * k + 1 ? k : 0;
  }

  View view(const std::byte* in, std::int64_t n) const {
    View v;
    v.factors = factors_of(in);
    v.unit = std::ldexp(1.0f, static_cast<std::int8_t>(in[1]));
    const SkvLowRankPart at = parts(n, v.factors);
    const auto* start = reinterpret_cast<const std::uint8_t*>(in);
    v.shares = reinterpret_cast<const std::uint16_t*>(start + at.shares);
    v.left = start + at.left;
    v.right = start + at.right;
    v.tokens = reinterpret_cast<const std::uint16_t*>(start + at.second);
    v.scales = v.tokens + v.factors.second_rows;
    v.codes = reinterpret_cast<const std::uint8_t*>(v.scales + v.factors.second_rows);
    v.residual = in + at.residual;
    return v;
  }

  // along [m, r], in units of the columns, to what it stands for.
  void scale(const View& v, Matrix along) const {
    std::array<float, kMostComponents> scales;
    factor_scales(v.factors, v.shares, v.unit, scales.data());
    for (std::int64_t i = 0; i < along.rows; ++i)
      for (std::int64_t r = 0; r < along.cols; ++r) along(i, r) *= scales[static_cast<std::size_t>(r)];
  }

  static const EOptShrinkQCodec& of(const SealItem& item) {
    return static_cast<const EOptShrinkQCodec&>(*item.codec);
  }
  void encode_run(std::span<SealItem> items, CodecWork& work) const;
  void encode_parts(const EOptShrinkResult& low, Matrix rows, Matrix spare, SealItem& item,
                    CodecWork& work) const;
  int place(ConstMatrix block, Matrix spare, Matrix out) const;
  int exponent_of(ConstMatrix block) const;
  void subtract_low_rank(const EOptShrinkResult& low, const std::byte* block, Matrix spare,
                         Matrix rows) const;
  double allowed_error(const EOptShrinkResult& low, std::int64_t n) const;
  void store_factors(const EOptShrinkResult& low, std::int64_t n, int second_rows, std::byte* out) const;
  void store_second_stage(ConstMatrix rows, std::span<const std::uint16_t> tokens, Matrix spare,
                          std::byte* block) const;

  // out [n, d] -= or += the low-rank part as stored.
  void add_low_rank(const View& v, std::int64_t n, float sign, Matrix out) const;
  // out [n, d] = all but the second stage.
  void first_stage(const View& v, std::int64_t n, Matrix out) const {
    residual_->decode(v.residual, n, v.unit, out);
    add_low_rank(v, n, 1, out);
  }

  EOptShrinkQOptions options_;
  std::string text_;
  CodecSpace space_;
  const Codebook& second_book_;
  FactorCodes factors_;
  std::unique_ptr<const ResidualQuantiser> residual_;
};

void EOptShrinkQCodec::add_low_rank(const View& v, std::int64_t n, float sign, Matrix out) const {
  const std::int64_t rank = v.factors.rank, wide = padded(n);
  if (rank == 0) return;
  Buffer<float> memory(static_cast<std::size_t>(rank * (wide + n)));
  const Matrix left(memory.data(), rank, wide), by_token(memory.data() + rank * wide, n, rank);
  const FactorRuns runs = factors_.runs(v.factors);
  runs.decode(v.left, left);
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t i = 0; i < rank; ++i) by_token(t, i) = sign * left(i, t);
  scale(v, by_token);
  runs.mix(v.right, by_token, out);
}

std::int64_t EOptShrinkQCodec::encode(ConstMatrix block, const SealContext& context, std::byte* out,
                                      CodecWork& work) const {
  SealItem item{this, block, context, out};
  encode_all({&item, 1}, work);
  return item.used;
}

void EOptShrinkQCodec::encode_all(std::span<SealItem> items, CodecWork& work) const {
  for (std::size_t first = 0; first < items.size();) {  // runs of one length
    std::size_t count = 1;
    while (count < GramLanes::kMost && first + count < items.size() &&
           items[first + count].rows.rows == items[first].rows.rows)
      ++count;
    encode_run(items.subspan(first, count), work);
    first += count;
  }
}

void EOptShrinkQCodec::encode_run(std::span<SealItem> items, CodecWork& work) const {
  const std::int64_t n = items[0].rows.rows, d = head_dim(), count = std::ssize(items);
  const Matrix scaled(work.floats(3, n * d), n, d);
  const Matrix all(work.floats(4, count * n * d), count * n, d);
  std::array<ConstMatrix, GramLanes::kMost> rows;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const Matrix placed = all.rows_range(i * n, n);
    const int exponent = of(items[at]).place(items[at].rows, scaled, placed);
    items[at].out[1] = static_cast<std::byte>(static_cast<std::int8_t>(exponent));
    rows[at] = placed;
  }
  std::array<EOptShrinkResult, GramLanes::kMost> low;
  if (max_rank(n) > 0)
    eoptshrink_lanes(std::span(rows).first(items.size()), options_.loss, work.spectra(),
                     std::span(low).first(items.size()));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    of(items[at]).encode_parts(low[at], all.rows_range(i * n, n), scaled, items[at], work);
  }
}

// rows [n, d], in codec space and scaled, are lost; spare: [n, d].
void EOptShrinkQCodec::encode_parts(const EOptShrinkResult& low, Matrix rows, Matrix spare, SealItem& item,
                                    CodecWork& work) const {
  const std::int64_t n = rows.rows, d = rows.cols;
  const auto drawn = item.context.drawn.first(
      std::min(item.context.drawn.size(), static_cast<std::size_t>(options_.second_rows)));
  const Matrix kept(work.floats(5, std::ssize(drawn) * d), std::ssize(drawn), d);
  for (std::int64_t i = 0; i < kept.rows; ++i)
    std::memcpy(kept.row(i), rows.row(drawn[static_cast<std::size_t>(i)]),
                static_cast<std::size_t>(d) * sizeof(float));
  store_factors(low, n, static_cast<int>(drawn.size()), item.out);
  subtract_low_rank(low, item.out, spare, rows);
  const std::int64_t residual = residual_at(n, factors_of(item.out));
  item.used = residual + residual_->encode(rows, item.context, item.out + residual, work);
  if (!drawn.empty()) store_second_stage(kept, drawn, spare, item.out);
}

// rows: those of `tokens` as they were, [tokens, d]. spare: [n, d].
void EOptShrinkQCodec::store_second_stage(ConstMatrix rows, std::span<const std::uint16_t> tokens,
                                          Matrix spare, std::byte* block) const {
  const int d = static_cast<int>(head_dim());
  View v = view(block, spare.rows);
  v.unit = 1;
  first_stage(v, spare.rows, spare);
  std::byte* const at = block + (reinterpret_cast<const std::byte*>(v.tokens) - block);
  auto* const words = reinterpret_cast<std::uint16_t*>(at);
  auto* const codes = reinterpret_cast<std::uint8_t*>(words + 2 * tokens.size());
  std::vector<std::uint8_t> row_codes(static_cast<std::size_t>(d));
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    float* const missing = spare.row(tokens[i]);
    const float* const row = rows.row(static_cast<std::int64_t>(i));
    for (int c = 0; c < d; ++c) missing[c] = row[c] - missing[c];
    words[i] = tokens[i];
    words[tokens.size() + i] =
        quantize_row(missing, d, second_book_, RowScale::least_squares, row_codes.data());
    skv_pack_codes(row_codes.data(), d, kSkvSecondBits,
                   codes + static_cast<std::int64_t>(i) * d * kSkvSecondBits / 8);
  }
}

// out [n, d] = the block in codec space, times 2^-e; returns e, by the longest row where the units are (a
// rotation keeps lengths, so its input tells). spare: [n, d].
int EOptShrinkQCodec::place(ConstMatrix block, Matrix spare, Matrix out) const {
  const auto scale_rows = [&](ConstMatrix from, int exponent, Matrix to) {
    const float down = std::ldexp(1.0f, -exponent);
    for (std::int64_t t = 0; t < from.rows; ++t)
      for (std::int64_t c = 0; c < from.cols; ++c) to(t, c) = from(t, c) * down;
  };
  int exponent = exponent_of(block);
  scale_rows(block, exponent, spare);
  space_.place(spare, out);
  if (!space_.stretches()) return exponent;
  const int more = exponent_of(out);
  scale_rows(out, more, out);
  return exponent + more;
}

int EOptShrinkQCodec::exponent_of(ConstMatrix block) const {
  double top = 0;
  for (std::int64_t t = 0; t < block.rows; ++t) {
    const double norm = row_norm(block.row(t), head_dim());
    check(std::isfinite(norm), "kv", "a value of row ", t, " of a block [", block.rows, ", ", head_dim(),
          "] is not finite");
    top = std::max(top, norm);
  }
  return block_exponent(top);
}

// In an open loop the residual's own error stands in the place of its energy.
double EOptShrinkQCodec::allowed_error(const EOptShrinkResult& low, std::int64_t n) const {
  double rest = 0;
  for (std::size_t i = 0; i < low.singular_values.size(); ++i) {
    const double kept = i < low.shrunken.size() ? low.shrunken[i] : 0, left = low.singular_values[i] - kept;
    rest += left * left;
  }
  if (!options_.closed_loop) rest *= residual_->distortion();
  return allowed_factor_error(rest, static_cast<double>(n), static_cast<double>(head_dim()));
}

// Header, shares, widths and columns.
void EOptShrinkQCodec::store_factors(const EOptShrinkResult& low, std::int64_t n, int second_rows,
                                     std::byte* out) const {
  assert(low.rank <= max_rank(n));
  const double allowed = allowed_error(low, n);
  std::vector<CodedFactor> coded;
  bool plain = true;
  for (int i = 0; i < low.rank; ++i) {
    coded.push_back(
        factors_.encode(low.left(i), low.right(i), low.shrunken[static_cast<std::size_t>(i)], allowed));
    plain &= coded.back().width == factors_.plain_width() && !coded.back().whole;
  }
  auto* const bytes = reinterpret_cast<std::uint8_t*>(out);
  bytes[0] = static_cast<std::uint8_t>(low.rank | (plain ? 0 : kSkvOwnWidths) |
                                       (second_rows > 0 ? kSkvSecondStage : 0));
  std::uint8_t* shares = bytes + kSkvLeastHead;
  if (second_rows > 0) {
    *shares++ = static_cast<std::uint8_t>(second_rows);
    *shares++ = 0;
  }
  std::uint8_t* const widths = shares + 2 * low.rank;
  for (std::size_t i = 0; i < coded.size(); ++i) {
    std::memcpy(shares + 2 * i, &coded[i].share, 2);
    if (!plain) widths[i] = static_cast<std::uint8_t>(coded[i].width);
  }
  if (!plain && low.rank % 2 == 1) widths[low.rank] = 0;
  const SkvFactors factors = factors_of(out);
  const SkvLowRankPart at = parts(n, factors);
  std::uint8_t *left = bytes + at.left, *right = bytes + at.right;
  for (CodedFactor& one : coded) {
    one.left.resize(static_cast<std::size_t>(padded(n)));
    skv_pack_codes(one.left.data(), static_cast<int>(padded(n)), one.width, left);
    skv_pack_codes(one.right.data(), static_cast<int>(head_dim()), one.width, right);
    left += at.left_bit * static_cast<std::size_t>(one.width);
    right += at.right_bit * static_cast<std::size_t>(one.width);
  }
}

// From rows [n, d], rotated and scaled, to the residual: of the factors as the block has them, or in an open
// loop of the exact ones. spare: [n, d].
void EOptShrinkQCodec::subtract_low_rank(const EOptShrinkResult& low, const std::byte* block, Matrix spare,
                                         Matrix rows) const {
  if (options_.closed_loop) {
    View in_these_units = view(block, rows.rows);
    in_these_units.unit = 1;
    add_low_rank(in_these_units, rows.rows, -1, rows);
  } else if (low.rank > 0) {
    low_rank_part(low, spare);
    for (std::int64_t t = 0; t < rows.rows; ++t)
      for (std::int64_t c = 0; c < rows.cols; ++c) rows(t, c) -= spare(t, c);
  }
}

void EOptShrinkQCodec::decode(const std::byte* in, std::int64_t n, Matrix out) const {
  const View v = view(in, n);
  first_stage(v, n, out);
  std::vector<float> row(static_cast<std::size_t>(head_dim()));
  for (int i = 0; i < v.factors.second_rows; ++i) {
    kernels().decode_codes[kSkvSecondBits - 1](v.codes + i * second_row_bytes(), head_dim(),
                                               second_book_.levels.data(),
                                               skv_f16_to_f32(v.scales[i]) * v.unit, row.data());
    for (std::int64_t c = 0; c < head_dim(); ++c) out(v.tokens[i], c) += row[static_cast<std::size_t>(c)];
  }
}

// s = ((q B^T) g) A + q R^T + q S^T.
void EOptShrinkQCodec::score(const std::byte* in, std::int64_t n, const Queries& q, Matrix s,
                             CodecWork& work) const {
  if (!residual_->scores()) return Codec::score(in, n, q, s, work);
  const View v = view(in, n);
  const std::int64_t m = s.rows, rank = v.factors.rank, width = padded(n);
  const auto clear = [m](Matrix rows) {
    for (std::int64_t i = 0; i < m; ++i)
      std::memset(rows.row(i), 0, static_cast<std::size_t>(rows.cols) * sizeof(float));
  };
  if (rank == 0) {
    clear(s);
  } else {
    const Matrix along(work.floats(4, m * rank), m, rank);
    const FactorRuns runs = factors_.runs(v.factors);
    runs.multiply(v.right, q.rows, along);
    scale(v, along);
    const Matrix low = n == width ? s : Matrix(work.floats(5, m * width), m, width);
    clear(low);
    runs.mix(v.left, along, low);
    for (std::int64_t i = 0; i < m && n != width; ++i)
      std::memcpy(s.row(i), low.row(i), static_cast<std::size_t>(n) * sizeof(float));
  }
  residual_->add_score(v.residual, n, v.unit, q, s, work);
  const std::int64_t second = v.factors.second_rows;
  if (second == 0) return;
  const Matrix dots(work.floats(4, m * second), m, second);
  kernels().score_codes[kSkvSecondBits - 1](v.codes, second, head_dim(), second_book_.levels.data(),
                                            q.rows.data, q.rows.stride, m, dots.data, dots.stride);
  for (std::int64_t j = 0; j < second; ++j) {
    const float scale = skv_f16_to_f32(v.scales[j]) * v.unit;
    for (std::int64_t i = 0; i < m; ++i) s(i, v.tokens[j]) += dots(i, j) * scale;
  }
}

// acc += ((p A^T) g) B + p R + p S.
void EOptShrinkQCodec::mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc,
                           CodecWork& work) const {
  if (!residual_->mixes()) return Codec::mix(in, n, p, acc, work);
  const View v = view(in, n);
  const std::int64_t m = p.rows, rank = v.factors.rank, width = padded(n);
  if (rank > 0) {
    ConstMatrix probabilities = p;
    if (n != width) {  // zeros against the codes behind the last token
      const Matrix wide(work.floats(5, m * width), m, width);
      for (std::int64_t i = 0; i < m; ++i) {
        std::memcpy(wide.row(i), p.row(i), static_cast<std::size_t>(n) * sizeof(float));
        std::memset(wide.row(i) + n, 0, static_cast<std::size_t>(width - n) * sizeof(float));
      }
      probabilities = wide;
    }
    const Matrix along(work.floats(4, m * rank), m, rank);
    const FactorRuns runs = factors_.runs(v.factors);
    runs.multiply(v.left, probabilities, along);
    scale(v, along);
    runs.mix(v.right, along, acc);
  }
  residual_->add_mix(v.residual, n, v.unit, p, acc, work);
  const std::int64_t second = v.factors.second_rows;
  if (second == 0) return;
  const Matrix shares(work.floats(4, m * second), m, second);
  for (std::int64_t j = 0; j < second; ++j) {
    const float scale = skv_f16_to_f32(v.scales[j]) * v.unit;
    for (std::int64_t i = 0; i < m; ++i) shares(i, j) = p(i, v.tokens[j]) * scale;
  }
  kernels().mix_codes[kSkvSecondBits - 1](shares.data, shares.stride, m, v.codes, second, head_dim(),
                                          second_book_.levels.data(), acc.data, acc.stride);
}

}  // namespace

std::unique_ptr<Codec> make_eoptshrinkq_codec(std::int64_t head_dim, const EOptShrinkQOptions& options,
                                              ConstMatrix metric,
                                              std::unique_ptr<const ResidualQuantiser> residual,
                                              std::string text) {
  return std::make_unique<EOptShrinkQCodec>(head_dim, options, metric, std::move(residual), std::move(text));
}

}  // namespace spectralkv
