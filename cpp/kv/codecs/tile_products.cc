// Queries as bytes, probabilities as bytes by rounds.
#include "kv/codecs/tile_products.h"

#include <algorithm>

#include "formats/codetiles.h"
#include "kv/codecs/row_scales.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// So many groups of four tokens share a step of their probabilities: in longer rounds small ones would
// vanish.
constexpr std::int64_t kRoundGroups = 32;

// scales [n] times unit, with room for `more` numbers behind them.
float* unpack_scales(const TiledResidual& r, float unit, std::int64_t more, CodecWork& work) {
  float* const out = work.floats(2, r.n + more);
  read_row_scales(r.scales, r.n, unit, out);
  return out;
}

}  // namespace

void add_tile_score(const TiledResidual& r, float unit_of_block, const Queries& q, Matrix s,
                    CodecWork& work) {
  const float* const scale = unpack_scales(r, unit_of_block, 0, work);
  simd::ByteRows bytes = q.bytes;
  if (bytes.values == nullptr)
    bytes = Queries::to_bytes(q.rows, work.bytes(0, Queries::bytes_needed(s.rows, r.d)));
  const auto groups = static_cast<std::int64_t>(skv_tile_groups(static_cast<std::size_t>(r.d)));
  const auto stride = groups * static_cast<std::int64_t>(skv_tile_bytes(r.bits));
  const simd::CodeTiles tiles{r.tiles, r.n, groups, stride, r.levels, r.unit, r.ahead};
  kernels().add_tiles[r.bits - 1](tiles, bytes, scale, s.data, s.stride);
}

void add_tile_mix(const TiledResidual& r, float unit_of_block, ConstMatrix p, Matrix acc, CodecWork& work) {
  const auto all = static_cast<std::int64_t>(skv_tile_groups(static_cast<std::size_t>(r.n)));
  const auto tile = static_cast<std::int64_t>(skv_tile_bytes(r.bits));
  const std::int64_t m = p.rows, most = std::min(all, kRoundGroups), ld = (4 * most + 63) / 64 * 64;
  auto* const values = reinterpret_cast<std::uint8_t*>(work.bytes(0, m * ld));
  const float* const scale = unpack_scales(r, unit_of_block, m, work);
  float* const steps = work.floats(2, r.n + m) + r.n;
  for (std::int64_t first = 0; first < all; first += most) {
    const std::int64_t count = std::min(most, all - first), tokens = std::min(4 * count, r.n - 4 * first);
    kernels().to_probability_bytes(p.data + 4 * first, p.stride, m, tokens, scale + 4 * first, values, ld,
                                   steps);
    const simd::CodeTiles tiles{r.tiles + first * tile, r.d, count, all * tile, r.levels, r.unit, r.ahead};
    kernels().add_probability_tiles[r.bits - 1](tiles, {values, ld, steps, m}, nullptr, acc.data, acc.stride);
  }
}

}  // namespace spectralkv
