// A residual of n tokens is its rows' scales, then trellis codes in tiles: keys with tokens as rows,
// values with channels as rows, as scalar codes of 2 bits lie.
#include "kv/codecs/trellis_residual.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "formats/coded_block.h"
#include "formats/trellis.h"
#include "kv/codecs/row_scales.h"
#include "kv/codecs/tile_products.h"
#include "quant/row_math.h"
#include "quant/turboquant.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr int kIndexBits = 4;  // of the indices that codes become

struct IndexLevels {
  std::int8_t bytes[kSkvTrellisLevels];
};
constexpr IndexLevels index_levels() {
  IndexLevels levels{};
  for (unsigned i = 0; i < kSkvTrellisLevels; ++i)
    levels.bytes[i] = static_cast<std::int8_t>(skv_trellis_level(i));
  return levels;
}
constexpr IndexLevels kLevels = index_levels();

class TrellisResidual final : public ResidualQuantiser {
 public:
  TrellisResidual(std::int64_t head_dim, RowScales scales, KvSide side)
      : d_(head_dim),
        unit_(static_cast<float>(trellis_unit(head_dim))),
        scales_(scales),
        keys_(side == KvSide::keys) {}

  std::int64_t max_bytes(std::int64_t n) const override { return most_row_scale_bytes(n) + code_bytes(n); }
  bool valid(const std::byte* in, std::int64_t n, std::int64_t bytes) const override {
    return holds_row_scales(in, n, code_bytes(n), bytes);
  }
  std::int64_t encode(ConstMatrix rows, const SealContext& context, std::byte* out,
                      CodecWork& work) const override;
  void decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const override;
  double paper_bits(const std::byte*, std::int64_t n, std::int64_t) const override {
    return static_cast<double>(2 * n * d_);
  }
  double distortion() const override { return kTrellisDistortion; }
  void describe(CodecForm& form) const override {
    form.kind = CodecForm::Kind::trellis;
    form.bits = 2;
    form.order = keys_ ? kSkvTokenTiles : kSkvChannelTiles;
    form.scale = scales_.kind;
    form.byte_scales = scales_.in_bytes;
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
  std::int64_t rows(std::int64_t n) const { return keys_ ? n : d_; }
  std::int64_t depth(std::int64_t n) const { return keys_ ? d_ : n; }
  std::int64_t sixteens(std::int64_t n) const { return (rows(n) + 15) / 16; }
  std::int64_t groups(std::int64_t n) const { return (depth(n) + 3) / 4; }
  std::int64_t code_bytes(std::int64_t n) const { return 16 * sixteens(n) * groups(n); }
  static const std::uint8_t* codes(const std::byte* in, std::int64_t n) {
    return reinterpret_cast<const std::uint8_t*>(in + row_scale_bytes(in, n));
  }
  // The indices of all codes, in tiles of 4 bits. Codes are the last part of a block.
  const std::uint8_t* indices(const std::byte* in, std::int64_t n, int slot, CodecWork& work) const {
    auto* const out = reinterpret_cast<std::uint8_t*>(work.bytes(slot, 2 * code_bytes(n)));
    const std::uint8_t* ahead = nullptr;
    if (std::ssize(work.ahead) >= code_bytes(n))
      ahead = reinterpret_cast<const std::uint8_t*>(work.ahead.data() + work.ahead.size()) - code_bytes(n);
    kernels().expand_trellis(codes(in, n), sixteens(n), groups(n), ahead, out);
    return out;
  }

  TiledResidual tiled(const std::byte* in, std::int64_t n, CodecWork& work) const {
    return {in, indices(in, n, 1, work), n, d_, kIndexBits, kLevels.bytes, unit_, nullptr};
  }

  std::int64_t d_;
  float unit_;
  RowScales scales_;
  bool keys_;
};

std::int64_t TrellisResidual::encode(ConstMatrix in, const SealContext&, std::byte* out,
                                     CodecWork& work) const {
  const std::int64_t n = in.rows, ring = 4 * groups(n);
  std::vector<RowSums> sums(static_cast<std::size_t>(n));
  std::vector<float> to_points(static_cast<std::size_t>(n));
  for (std::int64_t t = 0; t < n; ++t) {
    RowSums& row = sums[static_cast<std::size_t>(t)];
    row.norm = std::sqrt(dot_in_double(in.row(t), in.row(t), static_cast<int>(d_)));
    if (row.norm > 0)
      to_points[static_cast<std::size_t>(t)] =
          static_cast<float>(40 * std::sqrt(static_cast<double>(d_)) / row.norm);
  }
  // Sixteen rows of points, then of what the search says of them, a byte an entry; then codes row by row.
  auto* const points = reinterpret_cast<std::int8_t*>(work.bytes(0, 2 * 16 * ring));
  auto* const chosen = reinterpret_cast<std::uint8_t*>(points + 16 * ring);
  auto* const bytes = reinterpret_cast<std::uint8_t*>(work.bytes(1, 16 * sixteens(n) * ring));
  auto* const search = reinterpret_cast<std::uint8_t*>(work.bytes(2, simd::trellis_work(ring)));
  for (std::int64_t first = 0; first < rows(n); first += 16) {
    for (std::int64_t s = 0; s < ring; ++s) {
      const std::int64_t column = 4 * (s % groups(n)) + s / groups(n);
      for (std::int64_t i = 0; i < 16; ++i) {
        const std::int64_t t = keys_ ? first + i : column, c = keys_ ? column : first + i;
        std::int8_t& point = points[16 * s + i];
        point = -128;
        if (t >= n || c >= d_) continue;
        const float x = in(t, c) * to_points[static_cast<std::size_t>(t)];
        point = static_cast<std::int8_t>(static_cast<int>(std::clamp(x, -114.0f, 114.0f) + 128.5f) - 128);
      }
    }
    kernels().trellis_codes(points, ring, chosen, search);
    for (std::int64_t s = 0; s < ring; ++s) {
      const std::int64_t column = 4 * (s % groups(n)) + s / groups(n);
      for (std::int64_t i = 0; i < 16; ++i) {
        const unsigned both = chosen[16 * s + i];
        bytes[(first + i) * ring + column] = both & 3u;
        const std::int64_t t = keys_ ? first + i : column, c = keys_ ? column : first + i;
        if (t >= n || c >= d_) continue;
        const double level = static_cast<double>(unit_ * static_cast<float>(kLevels.bytes[both >> 4]));
        RowSums& row = sums[static_cast<std::size_t>(t)];
        row.row_levels += level * static_cast<double>(in(t, c));
        row.levels_levels += level * level;
      }
    }
  }
  std::vector<std::uint16_t> scales(static_cast<std::size_t>(n));
  for (std::size_t t = 0; t < scales.size(); ++t)
    scales[t] = row_scale(scales_.kind, sums[t], kTrellisDistortion);
  const std::int64_t used = store_row_scales(scales, scales_.in_bytes, out);
  skv_pack_tiles(bytes, static_cast<std::size_t>(16 * sixteens(n)), static_cast<std::size_t>(ring),
                 static_cast<std::size_t>(ring), 1, 2, reinterpret_cast<std::uint8_t*>(out + used));
  return used + code_bytes(n);
}

void TrellisResidual::decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const {
  std::vector<float> scale(static_cast<std::size_t>(n));
  read_row_scales(in, n, unit, scale.data());
  CodecWork work;
  const std::uint8_t* const tiles = indices(in, n, 0, work);
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < d_; ++c) {
      const unsigned index =
          skv_tiled_code(tiles, static_cast<std::size_t>(depth(n)), 4,
                         static_cast<std::size_t>(keys_ ? t : c), static_cast<std::size_t>(keys_ ? c : t));
      out(t, c) = scale[static_cast<std::size_t>(t)] * (unit_ * static_cast<float>(kLevels.bytes[index]));
    }
}

}  // namespace

std::unique_ptr<const ResidualQuantiser> make_trellis_residual(std::int64_t head_dim, RowScales scales,
                                                               KvSide side) {
  return std::make_unique<TrellisResidual>(head_dim, scales, side);
}

double trellis_unit(std::int64_t head_dim) {
  return static_cast<double>(SKV_TRELLIS_UNIT) / std::sqrt(static_cast<double>(head_dim));
}

}  // namespace spectralkv
