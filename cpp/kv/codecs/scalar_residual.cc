// A residual of n tokens is its rows' scales, then its codes in one of the orders of formats/coded_block.h.
#include "kv/codecs/scalar_residual.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "formats/bitpack.h"
#include "formats/codetiles.h"
#include "kv/codecs/row_scales.h"
#include "kv/codecs/shared_tables.h"
#include "kv/codecs/tile_products.h"
#include "quant/turboquant.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// What both layouts share: norms, and codes chosen entry by entry.
class ScalarResidual : public ResidualQuantiser {
 public:
  ScalarResidual(std::int64_t head_dim, int bits, RowScales scales, SkvCodeOrder order)
      : codebook_(shared_unit_codebook(static_cast<int>(head_dim), bits)),
        scales_(scales),
        format_{static_cast<int>(head_dim), bits, order} {}

  std::int64_t max_bytes(std::int64_t n) const final { return most_row_scale_bytes(n) + code_bytes(n); }
  bool valid(const std::byte* in, std::int64_t n, std::int64_t bytes) const final {
    return holds_row_scales(in, n, code_bytes(n), bytes);
  }
  std::int64_t encode(ConstMatrix rows, const SealContext&, std::byte* out, CodecWork& work) const final {
    const std::int64_t n = rows.rows, d = format_.d;
    auto* const codes = reinterpret_cast<std::uint8_t*>(work.bytes(0, n * d));
    auto* const scales = reinterpret_cast<std::uint16_t*>(work.bytes(1, 2 * n));
    for (std::int64_t t = 0; t < n; ++t)
      scales[t] = quantize_row(rows.row(t), format_.d, codebook_, scales_.kind, codes + t * d);
    const std::int64_t used = store_row_scales({scales, static_cast<std::size_t>(n)}, scales_.in_bytes, out);
    store(codes, n, reinterpret_cast<std::uint8_t*>(out + used));
    return used + code_bytes(n);
  }
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const final {
    return static_cast<double>(n * format_.d * format_.bits);
  }
  double distortion() const final { return codebook_.distortion; }
  void describe(CodecForm& form) const final {
    form.kind = CodecForm::Kind::codes;
    form.bits = format_.bits;
    form.order = format_.order;
    form.scale = scales_.kind;
    form.byte_scales = scales_.in_bytes;
  }

 protected:
  // codes: [n, head_dim]; out: [code_bytes(n)].
  virtual void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const = 0;

  std::int64_t code_bytes(std::int64_t n) const {
    return static_cast<std::int64_t>(skv_code_bytes(format_, static_cast<std::size_t>(n)));
  }
  static const std::uint8_t* codes(const std::byte* in, std::int64_t n) {
    return reinterpret_cast<const std::uint8_t*>(in + row_scale_bytes(in, n));
  }

  const Codebook& codebook_;
  RowScales scales_;
  SkvScalarFormat format_;
};

class RowCodes final : public ScalarResidual {
 public:
  using ScalarResidual::ScalarResidual;

  void decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const override {
    std::vector<float> scale(static_cast<std::size_t>(n));
    read_row_scales(in, n, unit, scale.data());
    for (std::int64_t t = 0; t < n; ++t)
      kernels().decode_codes[kernel()](codes(in, n) + t * row_bytes(), format_.d, codebook_.levels.data(),
                                       scale[static_cast<std::size_t>(t)], out.row(t));
  }

  bool scores() const override { return true; }
  bool mixes() const override { return true; }
  void add_score(const std::byte* in, std::int64_t n, float unit, const Queries& q, Matrix s,
                 CodecWork& work) const override {
    float* const scale = work.floats(2, n);
    read_row_scales(in, n, unit, scale);
    const Matrix dots(work.floats(0, s.rows * n), s.rows, n);
    kernels().score_codes[kernel()](codes(in, n), n, format_.d, codebook_.levels.data(), q.rows.data,
                                    q.rows.stride, s.rows, dots.data, n);
    for (std::int64_t i = 0; i < s.rows; ++i) {
      float* __restrict row = s.row(i);
      const float* dot = dots.row(i);
      for (std::int64_t t = 0; t < n; ++t) row[t] += dot[t] * scale[t];
    }
  }
  void add_mix(const std::byte* in, std::int64_t n, float unit, ConstMatrix p, Matrix acc,
               CodecWork& work) const override {
    float* const scale = work.floats(2, n);
    read_row_scales(in, n, unit, scale);
    const Matrix shares(work.floats(0, p.rows * n), p.rows, n);
    for (std::int64_t i = 0; i < p.rows; ++i) {
      float* __restrict row = shares.row(i);
      const float* from = p.row(i);
      for (std::int64_t t = 0; t < n; ++t) row[t] = from[t] * scale[t];
    }
    kernels().mix_codes[kernel()](shares.data, n, p.rows, codes(in, n), n, format_.d, codebook_.levels.data(),
                                  acc.data, acc.stride);
  }

 private:
  void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const override {
    for (std::int64_t t = 0; t < n; ++t)
      skv_pack_codes(codes + t * format_.d, format_.d, format_.bits, out + t * row_bytes());
  }
  std::int64_t row_bytes() const { return format_.d * format_.bits / 8; }
  std::size_t kernel() const { return static_cast<std::size_t>(format_.bits - 1); }
};

class TileCodes final : public ScalarResidual {
 public:
  TileCodes(std::int64_t head_dim, int bits, RowScales scales, SkvCodeOrder order)
      : ScalarResidual(head_dim, bits, scales, order),
        levels_(byte_levels(codebook_)),
        d_(head_dim),
        keys_(order == kSkvTokenTiles) {}

  void decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const override {
    std::vector<float> scale(static_cast<std::size_t>(n));
    read_row_scales(in, n, unit, scale.data());
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t c = 0; c < d_; ++c) {
        const unsigned code =
            skv_tiled_code(codes(in, n), depth(n), format_.bits, static_cast<std::size_t>(keys_ ? t : c),
                           static_cast<std::size_t>(keys_ ? c : t));
        out(t, c) = scale[static_cast<std::size_t>(t)] * codebook_.levels[code];
      }
  }

  bool scores() const override { return keys_; }
  bool mixes() const override { return !keys_; }
  void add_score(const std::byte* in, std::int64_t n, float unit, const Queries& q, Matrix s,
                 CodecWork& work) const override {
    add_tile_score(tiled(in, n, work), unit, q, s, work);
  }
  void add_mix(const std::byte* in, std::int64_t n, float unit, ConstMatrix p, Matrix acc,
               CodecWork& work) const override {
    add_tile_mix(tiled(in, n, work), unit, p, acc, work);
  }

 private:
  void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const override {
    const auto d = static_cast<std::size_t>(d_);
    skv_pack_tiles(codes, rows(n), depth(n), keys_ ? d : 1, keys_ ? 1 : d, format_.bits, out);
  }
  std::size_t rows(std::int64_t n) const { return static_cast<std::size_t>(keys_ ? n : d_); }
  std::size_t depth(std::int64_t n) const { return static_cast<std::size_t>(keys_ ? d_ : n); }
  TiledResidual tiled(const std::byte* in, std::int64_t n, const CodecWork& work) const {
    return {in, codes(in, n), n, d_, format_.bits, levels_.bytes, levels_.unit, codes_ahead(n, work)};
  }
  // Codes are the last part of a block.
  const std::uint8_t* codes_ahead(std::int64_t n, const CodecWork& work) const {
    if (std::ssize(work.ahead) < code_bytes(n)) return nullptr;
    return reinterpret_cast<const std::uint8_t*>(work.ahead.data() + work.ahead.size()) - code_bytes(n);
  }

  ByteLevels levels_;
  std::int64_t d_;
  bool keys_;
};

std::unique_ptr<const ResidualQuantiser> build_scalar_residual(CodecSpec& spec, const ResidualRow::Wish& wish,
                                                               SpecText& text) {
  const RowScales scales = take_row_scales(spec, wish, text);
  return make_scalar_residual(wish.head_dim, wish.bits, scales, wish.side, wish.given_width);
}

}  // namespace

ByteLevels byte_levels(const Codebook& codebook) {
  assert(codebook.levels.size() <= 16);
  const double top = static_cast<double>(codebook.levels.back());
  ByteLevels best;
  double best_error = HUGE_VAL;
  for (int largest = 127; largest >= 96; --largest) {
    const double unit = top / largest;
    double error = 0;
    for (const float level : codebook.levels) {
      const double rest =
          static_cast<double>(level) - unit * std::nearbyint(static_cast<double>(level) / unit);
      error += rest * rest;
    }
    if (error >= best_error) continue;
    best_error = error;
    best.unit = static_cast<float>(unit);
    for (std::size_t i = 0; i < codebook.levels.size(); ++i)
      best.bytes[i] =
          static_cast<std::int8_t>(std::nearbyint(static_cast<double>(codebook.levels[i]) / unit));
  }
  return best;
}

SkvCodeOrder code_order(int bits, KvSide side, bool given_width) {
  if (bits < (given_width ? 1 : 2) || bits > 4) return kSkvCodeRows;
  return side == KvSide::keys ? kSkvTokenTiles : kSkvChannelTiles;
}

std::unique_ptr<const ResidualQuantiser> make_scalar_residual(std::int64_t head_dim, int bits,
                                                              RowScales scales, KvSide side,
                                                              bool given_width) {
  const SkvCodeOrder order = code_order(bits, side, given_width);
  if (order != kSkvCodeRows) return std::make_unique<TileCodes>(head_dim, bits, scales, order);
  return std::make_unique<RowCodes>(head_dim, bits, scales, order);
}

const ResidualRow kScalarResidual = {SKV_ROW_SCALE_OPTIONS, build_scalar_residual};

}  // namespace spectralkv
