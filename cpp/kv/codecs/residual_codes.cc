// Both layouts of residual_codes.h.
#include "kv/codecs/residual_codes.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "formats/bitpack.h"
#include "formats/codetiles.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// So many groups of four tokens share a step of their weights: in longer rounds small weights would vanish.
constexpr std::int64_t kRoundGroups = 32;

class RowCodes final : public ResidualCodes {
 public:
  RowCodes(const Codebook& codebook, std::int64_t head_dim) : codebook_(codebook), d_(head_dim) {}

  std::int64_t bytes(std::int64_t n) const override { return n * row_bytes(); }
  void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const override {
    for (std::int64_t t = 0; t < n; ++t)
      skv_pack_codes(codes + t * d_, static_cast<int>(d_), codebook_.bits, out + t * row_bytes());
  }
  void decode(const std::uint8_t* in, std::int64_t n, const float* norms, Matrix out) const override {
    for (std::int64_t t = 0; t < n; ++t)
      kernels().decode_codes[kernel()](in + t * row_bytes(), d_, codebook_.levels.data(), norms[t],
                                       out.row(t));
  }

  bool scores() const override { return true; }
  bool mixes() const override { return true; }
  void add_score(const std::uint8_t* in, std::int64_t n, const float* norms, const Queries& q, Matrix s,
                 CodecWork& work) const override {
    const Matrix dots(work.floats(0, s.rows * n), s.rows, n);
    kernels().score_codes[kernel()](in, n, d_, codebook_.levels.data(), q.rows.data, q.rows.stride, s.rows,
                                    dots.data, n);
    for (std::int64_t i = 0; i < s.rows; ++i) {
      float* __restrict row = s.row(i);
      const float* dot = dots.row(i);
      for (std::int64_t t = 0; t < n; ++t) row[t] += dot[t] * norms[t];
    }
  }
  void add_mix(const std::uint8_t* in, std::int64_t n, const float* norms, ConstMatrix p, Matrix acc,
               CodecWork& work) const override {
    const Matrix shares(work.floats(0, p.rows * n), p.rows, n);
    for (std::int64_t i = 0; i < p.rows; ++i) {
      float* __restrict row = shares.row(i);
      const float* from = p.row(i);
      for (std::int64_t t = 0; t < n; ++t) row[t] = from[t] * norms[t];
    }
    kernels().mix_codes[kernel()](shares.data, n, p.rows, in, n, d_, codebook_.levels.data(), acc.data,
                                  acc.stride);
  }

 private:
  std::int64_t row_bytes() const { return d_ * codebook_.bits / 8; }
  std::size_t kernel() const { return static_cast<std::size_t>(codebook_.bits - 1); }

  const Codebook& codebook_;
  std::int64_t d_;
};

class TileCodes final : public ResidualCodes {
 public:
  TileCodes(const Codebook& codebook, std::int64_t head_dim, KvSide side)
      : codebook_(codebook), levels_(byte_levels(codebook)), d_(head_dim), keys_(side == KvSide::keys) {}

  std::int64_t bytes(std::int64_t n) const override {
    return static_cast<std::int64_t>(skv_tiled_bytes(rows(n), depth(n), codebook_.bits));
  }
  void store(const std::uint8_t* codes, std::int64_t n, std::uint8_t* out) const override {
    const auto d = static_cast<std::size_t>(d_);
    skv_pack_tiles(codes, rows(n), depth(n), keys_ ? d : 1, keys_ ? 1 : d, codebook_.bits, out);
  }
  void decode(const std::uint8_t* in, std::int64_t n, const float* norms, Matrix out) const override {
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t c = 0; c < d_; ++c) {
        const unsigned code =
            skv_tiled_code(in, depth(n), codebook_.bits, static_cast<std::size_t>(keys_ ? t : c),
                           static_cast<std::size_t>(keys_ ? c : t));
        out(t, c) = norms[t] * codebook_.levels[code];
      }
  }

  bool scores() const override { return keys_; }
  bool mixes() const override { return !keys_; }
  void add_score(const std::uint8_t* in, std::int64_t n, const float* norms, const Queries& q, Matrix s,
                 CodecWork& work) const override;
  void add_mix(const std::uint8_t* in, std::int64_t n, const float* norms, ConstMatrix p, Matrix acc,
               CodecWork& work) const override;

 private:
  std::size_t rows(std::int64_t n) const { return static_cast<std::size_t>(keys_ ? n : d_); }
  std::size_t depth(std::int64_t n) const { return static_cast<std::size_t>(keys_ ? d_ : n); }
  std::int64_t groups(std::int64_t n) const { return static_cast<std::int64_t>(skv_tile_groups(depth(n))); }
  std::int64_t tile_bytes() const { return static_cast<std::int64_t>(skv_tile_bytes(codebook_.bits)); }
  std::size_t kernel() const { return static_cast<std::size_t>(codebook_.bits - 2); }
  // Codes are the last part of a block.
  const std::uint8_t* codes_ahead(std::int64_t n, const CodecWork& work) const {
    if (std::ssize(work.ahead) < bytes(n)) return nullptr;
    return reinterpret_cast<const std::uint8_t*>(work.ahead.data() + work.ahead.size()) - bytes(n);
  }

  const Codebook& codebook_;
  ByteLevels levels_;
  std::int64_t d_;
  bool keys_;
};

void TileCodes::add_score(const std::uint8_t* in, std::int64_t n, const float* norms, const Queries& q,
                          Matrix s, CodecWork& work) const {
  simd::ByteRows bytes = q.bytes;
  if (bytes.values == nullptr)
    bytes = Queries::to_bytes(q.rows, work.bytes(0, Queries::bytes_needed(s.rows, d_)));
  const simd::CodeTiles tiles{
      in, n, groups(n), groups(n) * tile_bytes(), levels_.bytes, levels_.unit, codes_ahead(n, work)};
  kernels().add_tiles[kernel()](tiles, bytes, norms, s.data, s.stride);
}

void TileCodes::add_mix(const std::uint8_t* in, std::int64_t n, const float* norms, ConstMatrix p, Matrix acc,
                        CodecWork& work) const {
  const std::int64_t m = p.rows, all = groups(n), most = std::min(all, kRoundGroups);
  const std::int64_t ld = (4 * most + 63) / 64 * 64;
  auto* const values = reinterpret_cast<std::uint8_t*>(work.bytes(0, m * ld));
  float* const steps = work.floats(1, m);
  for (std::int64_t first = 0; first < all; first += most) {
    const std::int64_t count = std::min(most, all - first), tokens = std::min(4 * count, n - 4 * first);
    kernels().to_weight_bytes(p.data + 4 * first, p.stride, m, tokens, norms + 4 * first, values, ld, steps);
    const simd::CodeTiles tiles{
        in + first * tile_bytes(), d_, count, all * tile_bytes(), levels_.bytes, levels_.unit,
        codes_ahead(n, work)};
    kernels().add_weighted_tiles[kernel()](tiles, {values, ld, steps, m}, nullptr, acc.data, acc.stride);
  }
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

SkvCodeOrder code_order(int bits, KvSide side) {
  if (bits < 2 || bits > 4) return kSkvCodeRows;
  return side == KvSide::keys ? kSkvTokenTiles : kSkvChannelTiles;
}

std::unique_ptr<ResidualCodes> make_residual_codes(const Codebook& codebook, std::int64_t head_dim,
                                                   KvSide side) {
  if (code_order(codebook.bits, side) != kSkvCodeRows)
    return std::make_unique<TileCodes>(codebook, head_dim, side);
  return std::make_unique<RowCodes>(codebook, head_dim);
}

}  // namespace spectralkv
