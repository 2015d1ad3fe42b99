// A block of n tokens and head dim d, rotated by Pi, is stored as
//
//     Y Pi^T  =  2^e ( sum over i < r of g_i a_i b_i^T  +  N C )
//
// a_i [n] and b_i [d] are levels of the Gaussian codebook of factor_bits bits, C [n, d] levels of the
// codebook of a unit vector's coordinates of `bits` bits, N one number a row. Everything lives in codec
// space: the right singular vectors are those of the rotated block.
//
//     offset      bytes                     what
//     0           1                         r, the rank
//     1           1                         e, signed: brings the largest row norm into [2^12, 2^13), so that
//                                           neither g nor N leaves the range of f16, at 1e4 or at 1e-6
//     2           2 r                       g (f16): the singular value times the scales of both columns
//     ...         r n' factor_bits / 8      codes of a_i, n' = n rounded up to 16 (codes 0 behind the last)
//     ...         r d factor_bits / 8       codes of b_i
//     ...         2 n                       N (f16)
//     ...                                   codes of C (residual_codes.h)
//
// Rows of factor codes are those of formats/bitpack.h. Every part, and so every block, has an even number of
// bytes, and a block starts at an even address: the f16 numbers are aligned.
#include "kv/codecs/eoptshrinkq.h"

#include <array>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "formats/coded_block.h"
#include "kv/codecs/residual_codes.h"
#include "kv/codecs/shared_tables.h"
#include "quant/factors.h"
#include "quant/row_math.h"
#include "simd/dispatch.h"
#include "spectral/edge.h"
#include "spectral/eoptshrink.h"

namespace spectralkv {
namespace {

constexpr int kMaxRank = 64;       // edge_window of any head dim is at most its square root
constexpr int kNormExponent = 13;  // the largest row norm is scaled below 2^13
constexpr std::int64_t kHeader = 2;

std::int64_t padded(std::int64_t n) {
  return (n + 15) / 16 * 16;
}

std::int64_t packed(std::int64_t d, int bits) {
  return static_cast<std::int64_t>(skv_packed_bytes(static_cast<int>(d), bits));
}

double row_norm(const float* row, std::int64_t d) {
  return std::sqrt(dot_in_double(row, row, static_cast<int>(d)));
}

class EOptShrinkQCodec final : public Codec {
 public:
  EOptShrinkQCodec(std::int64_t head_dim, const EOptShrinkQOptions& options, KvSide side, std::string text)
      : Codec(head_dim),
        options_(options),
        text_(std::move(text)),
        rotation_(shared_rotation(options.rotation, static_cast<int>(head_dim))),
        codebook_(shared_unit_codebook(static_cast<int>(head_dim), options.bits)),
        factor_codebook_(shared_gaussian_codebook(options.factor_bits)),
        residual_(make_residual_codes(codebook_, head_dim, side)),
        format_{static_cast<int>(head_dim), options.bits, options.factor_bits,
                code_order(options.bits, side)} {}

  std::string spec() const override { return text_; }
  CodecForm form() const override {
    return {CodecForm::Kind::codes, true,          options_.rotation,    options_.bits, options_.factor_bits,
            options_.factor,        options_.loss, options_.closed_loop, options_.scale};
  }

  std::int64_t max_bytes(std::int64_t n) const override { return bytes(n, max_rank(n)); }

  bool valid(const std::byte* in, std::int64_t n, std::int64_t size) const override {
    return size >= kHeader && static_cast<std::int64_t>(in[0]) <= max_rank(n) &&
           size == bytes(n, static_cast<std::int64_t>(in[0]));
  }

  double paper_bits(const std::byte* in, std::int64_t n, std::int64_t) const override {
    return static_cast<double>(n * head_dim() * options_.bits +
                               view(in, n).rank * (n + head_dim()) * options_.factor_bits);
  }

  void enter(ConstMatrix x, Matrix out) const override { rotation_.enter(x, out); }
  void leave(ConstMatrix x, Matrix out) const override { rotation_.leave(x, out); }

  std::int64_t encode(ConstMatrix block, std::byte* out, CodecWork& work) const override;
  void encode_all(std::span<const ConstMatrix> blocks, std::span<std::byte* const> out,
                  std::span<std::int64_t> used, CodecWork& work) const override;
  void decode(const std::byte* in, std::int64_t n, Matrix out) const override;
  void score(const std::byte* in, std::int64_t n, const Queries& q, Matrix s, CodecWork& work) const override;
  void mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc, CodecWork& work) const override;

 private:
  // The parts of a stored block.
  struct View {
    int rank = 0;
    float unit = 1;  // 2^e
    const std::uint16_t* weights = nullptr;
    const std::uint8_t *left = nullptr, *right = nullptr;
    const std::uint16_t* norms = nullptr;
    const std::uint8_t* codes = nullptr;
  };

  SkvCodedBlock parts(std::int64_t n, std::int64_t rank) const {
    return skv_coded_block(format_, static_cast<std::size_t>(n), static_cast<std::size_t>(rank));
  }
  std::int64_t bytes(std::int64_t n, std::int64_t rank) const {
    return static_cast<std::int64_t>(parts(n, rank).end);
  }
  std::int64_t max_rank(std::int64_t n) const {
    const int k = edge_window(static_cast<int>(head_dim()));
    return options_.factor && std::min(n, head_dim()) >= 3 * k + 1 ? k : 0;
  }

  View view(const std::byte* in, std::int64_t n) const {
    View v;
    v.rank = static_cast<int>(in[0]);
    v.unit = std::ldexp(1.0f, static_cast<std::int8_t>(in[1]));
    const auto* start = reinterpret_cast<const std::uint8_t*>(in);
    const SkvCodedBlock at = parts(n, v.rank);
    v.weights = reinterpret_cast<const std::uint16_t*>(start + at.weights);
    v.left = start + at.left;
    v.right = start + at.right;
    v.norms = reinterpret_cast<const std::uint16_t*>(start + at.norms);
    v.codes = start + at.codes;
    return v;
  }

  // g_i 2^e.
  void weights(const View& v, float* out) const {
    for (int i = 0; i < v.rank; ++i) out[i] = skv_f16_to_f32(v.weights[i]) * v.unit;
  }
  // N 2^e, [n].
  static const float* norms(const View& v, std::int64_t n, float* out) {
    kernels().from_f16(v.norms, v.unit, out, n);
    return out;
  }

  void scale_by_weights(const View& v, Matrix along) const {
    std::array<float, kMaxRank> g;
    weights(v, g.data());
    for (std::int64_t i = 0; i < along.rows; ++i)
      for (std::int64_t r = 0; r < along.cols; ++r) along(i, r) *= g[static_cast<std::size_t>(r)];
  }
  void multiply_factors(const std::uint8_t* codes, std::int64_t rank, std::int64_t width, ConstMatrix x,
                        Matrix along, CodecWork& work) const;
  void mix_factors(const std::uint8_t* codes, std::int64_t rank, std::int64_t width, ConstMatrix along,
                   Matrix out, CodecWork& work) const;

  void encode_run(std::span<const ConstMatrix> blocks, std::span<std::byte* const> out,
                  std::span<std::int64_t> used, CodecWork& work) const;
  int exponent_of(ConstMatrix block) const;
  std::int64_t encode_rows(Matrix rows, const EOptShrinkResult& low, Matrix spare, std::byte* out) const;

  // out [n, d] -= or += the low-rank part as stored.
  void add_low_rank(const View& v, std::int64_t n, float sign, Matrix out) const;

  std::size_t factor_kernel() const { return static_cast<std::size_t>(options_.factor_bits - 1); }
  const float* factor_levels() const { return factor_codebook_.levels.data(); }

  EOptShrinkQOptions options_;
  std::string text_;
  const CacheRotation& rotation_;
  const Codebook& codebook_;
  const Codebook& factor_codebook_;
  std::unique_ptr<const ResidualCodes> residual_;
  SkvCodedFormat format_;
};

void EOptShrinkQCodec::add_low_rank(const View& v, std::int64_t n, float sign, Matrix out) const {
  if (v.rank == 0) return;
  constexpr std::int64_t kRows = 16;  // so many share the lookups of b
  std::array<float, kMaxRank> g;
  std::array<float, kRows * kMaxRank> shares;
  weights(v, g.data());
  const std::int64_t left_bytes = packed(padded(n), options_.factor_bits);
  for (std::int64_t first = 0; first < n; first += kRows) {
    const std::int64_t count = std::min(kRows, n - first);
    float* share = shares.data();
    for (std::int64_t t = first; t < first + count; ++t)
      for (int i = 0; i < v.rank; ++i) {
        const unsigned code = skv_packed_code(v.left + i * left_bytes, static_cast<int>(padded(n)),
                                              options_.factor_bits, static_cast<int>(t));
        *share++ = sign * g[static_cast<std::size_t>(i)] * factor_levels()[code];
      }
    kernels().mix_codes[factor_kernel()](shares.data(), v.rank, count, v.right, v.rank, head_dim(),
                                         factor_levels(), out.row(first), out.stride);
  }
}

std::int64_t EOptShrinkQCodec::encode(ConstMatrix block, std::byte* out, CodecWork& work) const {
  std::int64_t used = 0;
  encode_all({&block, 1}, {&out, 1}, {&used, 1}, work);
  return used;
}

void EOptShrinkQCodec::encode_all(std::span<const ConstMatrix> blocks, std::span<std::byte* const> out,
                                  std::span<std::int64_t> used, CodecWork& work) const {
  for (std::size_t first = 0; first < blocks.size();) {  // runs of one length
    std::size_t count = 1;
    while (count < GramLanes::kMost && first + count < blocks.size() &&
           blocks[first + count].rows == blocks[first].rows)
      ++count;
    encode_run(blocks.subspan(first, count), out.subspan(first, count), used.subspan(first, count), work);
    first += count;
  }
}

void EOptShrinkQCodec::encode_run(std::span<const ConstMatrix> blocks, std::span<std::byte* const> out,
                                  std::span<std::int64_t> used, CodecWork& work) const {
  const std::int64_t n = blocks[0].rows, d = head_dim(), count = std::ssize(blocks);
  const Matrix scaled(work.floats(3, n * d), n, d);
  const Matrix all(work.floats(4, count * n * d), count * n, d);
  std::array<ConstMatrix, GramLanes::kMost> rows;
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    const int exponent = exponent_of(blocks[at]);
    out[at][1] = static_cast<std::byte>(static_cast<std::int8_t>(exponent));
    const float down = std::ldexp(1.0f, -exponent);
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t c = 0; c < d; ++c) scaled(t, c) = blocks[at](t, c) * down;
    rotation_.enter(scaled, all.rows_range(i * n, n));
    rows[at] = all.rows_range(i * n, n);
  }
  std::array<EOptShrinkResult, GramLanes::kMost> low;
  if (max_rank(n) > 0)
    eoptshrink_lanes(std::span(rows).first(blocks.size()), options_.loss, work.spectra(),
                     std::span(low).first(blocks.size()));
  for (std::int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<std::size_t>(i);
    used[at] = encode_rows(all.rows_range(i * n, n), low[at], scaled, out[at]);
  }
}

// 2^e brings the largest row norm below 2^kNormExponent.
int EOptShrinkQCodec::exponent_of(ConstMatrix block) const {
  double top = 0;
  for (std::int64_t t = 0; t < block.rows; ++t) {
    const double norm = row_norm(block.row(t), head_dim());
    check(std::isfinite(norm), "kv", "a value of row ", t, " of a block [", block.rows, ", ", head_dim(),
          "] is not finite");
    top = std::max(top, norm);
  }
  if (!(top > 0)) return 0;
  int exponent = 0;
  std::frexp(top, &exponent);  // top in [2^(exponent - 1), 2^exponent)
  return std::clamp(exponent - kNormExponent, -100, 120);
}

// The block behind its exponent. rows [n, d]: rotated and scaled, lost; spare: [n, d].
std::int64_t EOptShrinkQCodec::encode_rows(Matrix rows, const EOptShrinkResult& low, Matrix spare,
                                           std::byte* out) const {
  const std::int64_t n = rows.rows, d = head_dim();
  assert(low.rank <= max_rank(n) && low.rank <= kMaxRank);
  out[0] = static_cast<std::byte>(low.rank);
  const View v = view(out, n);
  const auto at = [out](const void* part) {  // the same place, to write to
    return out + (static_cast<const std::byte*>(part) - out);
  };

  std::vector<std::uint8_t> codes(static_cast<std::size_t>(std::max(padded(n), n * d)));
  const auto store = [&](std::span<const float> column, const std::uint8_t* row) {
    std::fill(codes.begin(), codes.end(), std::uint8_t{0});
    const std::uint16_t scale =
        quantize_factor(column.data(), static_cast<int>(column.size()), factor_codebook_, codes.data());
    skv_pack_codes(codes.data(), static_cast<int>(padded(static_cast<std::int64_t>(column.size()))),
                   options_.factor_bits, reinterpret_cast<std::uint8_t*>(at(row)));
    return static_cast<double>(skv_f16_to_f32(scale));
  };
  for (int i = 0; i < low.rank; ++i) {
    const double a = store(low.left(i), v.left + i * packed(padded(n), options_.factor_bits));
    const double b = store(low.right(i), v.right + i * packed(d, options_.factor_bits));
    const std::uint16_t g = saturating_f16(low.shrunken[static_cast<std::size_t>(i)] * a * b);
    std::memcpy(at(v.weights + i), &g, 2);
  }

  if (options_.closed_loop) {
    View in_these_units = v;
    in_these_units.unit = 1;
    add_low_rank(in_these_units, n, -1, rows);
  } else if (low.rank > 0) {
    low_rank_part(low, spare);
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t c = 0; c < d; ++c) rows(t, c) -= spare(t, c);
  }
  for (std::int64_t t = 0; t < n; ++t) {
    const std::uint16_t norm =
        quantize_row(rows.row(t), static_cast<int>(d), codebook_, options_.scale, codes.data() + t * d);
    std::memcpy(at(v.norms + t), &norm, 2);
  }
  residual_->store(codes.data(), n, reinterpret_cast<std::uint8_t*>(at(v.codes)));
  return bytes(n, low.rank);
}

void EOptShrinkQCodec::decode(const std::byte* in, std::int64_t n, Matrix out) const {
  const View v = view(in, n);
  std::vector<float> norm(static_cast<std::size_t>(n));
  residual_->decode(v.codes, n, norms(v, n, norm.data()), out);
  add_low_rank(v, n, 1, out);
}

// along [m, rank] = x [m, width] times the factors' columns.
void EOptShrinkQCodec::multiply_factors(const std::uint8_t* codes, std::int64_t rank, std::int64_t width,
                                        ConstMatrix x, Matrix along, CodecWork&) const {
  kernels().score_codes[factor_kernel()](codes, rank, width, factor_levels(), x.data, x.stride, x.rows,
                                         along.data, along.stride);
}

// out [m, width] += along [m, rank] times the factors' columns.
void EOptShrinkQCodec::mix_factors(const std::uint8_t* codes, std::int64_t rank, std::int64_t width,
                                   ConstMatrix along, Matrix out, CodecWork&) const {
  kernels().mix_codes[factor_kernel()](along.data, along.stride, along.rows, codes, rank, width,
                                       factor_levels(), out.data, out.stride);
}

// s = ((q B) g) A^T + (q C^T) N.
void EOptShrinkQCodec::score(const std::byte* in, std::int64_t n, const Queries& q, Matrix s,
                             CodecWork& work) const {
  if (!residual_->scores()) return Codec::score(in, n, q, s, work);
  const View v = view(in, n);
  const std::int64_t m = s.rows, width = padded(n);
  if (v.rank == 0) {
    for (std::int64_t i = 0; i < m; ++i)
      std::memset(s.row(i), 0, static_cast<std::size_t>(n) * sizeof(float));
  } else {
    const Matrix along(work.floats(4, m * v.rank), m, v.rank);
    multiply_factors(v.right, v.rank, head_dim(), q.rows, along, work);
    scale_by_weights(v, along);
    const Matrix low = n == width ? s : Matrix(work.floats(5, m * width), m, width);
    for (std::int64_t i = 0; i < m; ++i)
      std::memset(low.row(i), 0, static_cast<std::size_t>(width) * sizeof(float));
    mix_factors(v.left, v.rank, width, along, low, work);
    for (std::int64_t i = 0; i < m && n != width; ++i)
      std::memcpy(s.row(i), low.row(i), static_cast<std::size_t>(n) * sizeof(float));
  }
  residual_->add_score(v.codes, n, norms(v, n, work.floats(3, n)), q, s, work);
}

// acc += ((p A) g) B^T + (p N) C.
void EOptShrinkQCodec::mix(const std::byte* in, std::int64_t n, ConstMatrix p, Matrix acc,
                           CodecWork& work) const {
  if (!residual_->mixes()) return Codec::mix(in, n, p, acc, work);
  const View v = view(in, n);
  const std::int64_t m = p.rows, width = padded(n);
  if (v.rank > 0) {
    ConstMatrix weighted = p;
    if (n != width) {  // zeros against the codes behind the last token
      const Matrix wide(work.floats(5, m * width), m, width);
      for (std::int64_t i = 0; i < m; ++i) {
        std::memcpy(wide.row(i), p.row(i), static_cast<std::size_t>(n) * sizeof(float));
        std::memset(wide.row(i) + n, 0, static_cast<std::size_t>(width - n) * sizeof(float));
      }
      weighted = wide;
    }
    const Matrix along(work.floats(4, m * v.rank), m, v.rank);
    multiply_factors(v.left, v.rank, width, weighted, along, work);
    scale_by_weights(v, along);
    mix_factors(v.right, v.rank, head_dim(), along, acc, work);
  }
  residual_->add_mix(v.codes, n, norms(v, n, work.floats(3, n)), p, acc, work);
}

}  // namespace

std::unique_ptr<Codec> make_eoptshrinkq_codec(std::int64_t head_dim, const EOptShrinkQOptions& options,
                                              KvSide side, std::string text) {
  return std::make_unique<EOptShrinkQCodec>(head_dim, options, side, std::move(text));
}

}  // namespace spectralkv
