// The tables of codecs with low-rank parts: codebooks, and pairs of levels for the tensor cores.
#include <cassert>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "cuda/codecs/codes.cuh"
#include "cuda/codecs/trellis.cuh"
#include "kv/codecs/factor_codes.h"
#include "kv/codecs/scalar_residual.h"
#include "kv/codecs/shared_tables.h"
#include "kv/codecs/trellis_residual.h"
#include "kv/drawn_rows.h"
#include "spectral/edge.h"

namespace spectralkv::device_kv {
namespace {

// The Gaussian codebooks as factor_book has them.
struct FactorBooks {
  std::vector<float> levels, boundaries;
  FactorBooks() {
    for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
      assert(levels.size() == static_cast<std::size_t>(factor_book(bits)));
      const Codebook& book = shared_gaussian_codebook(bits);
      levels.insert(levels.end(), book.levels.begin(), book.levels.end());
      boundaries.insert(boundaries.end(), book.boundaries.begin(), book.boundaries.end());
      boundaries.push_back(0);  // as many as there are levels
    }
  }
};

// CodecView::factor_pairs of blocks whose own width, where it is narrow, is `plain`. A book has 16 places:
// levels of 2 bits stand in the upper half of that of 3 bits, whose codes do not reach there.
std::vector<std::uint32_t> factor_pairs(int plain) {
  const int bits[2] = {plain <= kNarrow ? plain : kNarrow, kNarrow};
  std::vector<std::uint32_t> pairs(kFactorPairs);
  const auto half = [&](std::size_t book, std::size_t code) {
    const auto& levels = shared_gaussian_codebook(bits[book] == 3 && code >= 8 ? 2 : bits[book]).levels;
    return static_cast<std::uint32_t>(skv_f32_to_f16(levels[code % levels.size()]));
  };
  for (std::size_t i = 0; i < pairs.size(); ++i)
    pairs[i] = half(i / kBookPairs % 2, i % 16) | half(i / kBookPairs / 2, i / 16 % 16) << 16;
  return pairs;
}

}  // namespace

void FactoredPolicy::fill_factors(CodecView& view, int d, const CodecForm& form, CodecTables& tables,
                                  device::Stream stream) {
  const FactorCodes factors(form.factor_bits);
  view.coded = {d, form.bits, form.order};
  view.plain_width = factors.plain_width();
  view.window = form.factor ? edge_window(d) : 0;
  assert(view.window <= kMostRank);
  view.loss = form.loss;
  view.scale = form.scale;
  view.byte_scales = form.byte_scales;
  view.closed_loop = form.closed_loop;
  view.own_widths = factors.own_widths();
  const FactorBooks books;
  view.factor_levels = tables.keep<float>("factor levels", books.levels, stream);
  view.factor_boundaries = tables.keep<float>("factor boundaries", books.boundaries, stream);
  view.second_rows = form.second_rows;
  assert(view.second_rows <= DrawnRows::kMost);
  const Codebook& second = shared_unit_codebook(d, kSkvSecondBits);
  view.second_levels =
      tables.keep<float>(concat("levels ", kSkvSecondBits, " of ", d), second.levels, stream);
  view.second_boundaries =
      tables.keep<float>(concat("boundaries ", kSkvSecondBits, " of ", d), second.boundaries, stream);
  view.factor_pairs = tables.keep<std::uint32_t>(concat("factor pairs ", view.plain_width),
                                                 factor_pairs(view.plain_width), stream);
}

void CodesPolicy::fill(CodecView& view, int d, const CodecForm& form, KvSide, CodecTables& tables,
                       device::Stream stream) {
  fill_factors(view, d, form, tables, stream);
  const Codebook& codebook = shared_unit_codebook(d, form.bits);
  view.distortion = codebook.distortion;
  view.levels = tables.keep<float>(concat("levels ", form.bits, " of ", d), codebook.levels, stream);
  view.boundaries =
      tables.keep<float>(concat("boundaries ", form.bits, " of ", d), codebook.boundaries, stream);
  view.tiles =
      view.coded.order != kSkvCodeRows && form.bits > 1;  // the tensor cores' table has none of 1 bit
  if (!view.tiles) return;
  const ByteLevels bytes = byte_levels(codebook);
  std::memcpy(view.level_bytes, bytes.bytes, sizeof view.level_bytes);
  view.level_unit = bytes.unit;
}

void TrellisPolicy::fill(CodecView& view, int d, const CodecForm& form, KvSide, CodecTables& tables,
                         device::Stream stream) {
  fill_factors(view, d, form, tables, stream);
  view.distortion = kTrellisDistortion;
  view.searches = true;
  view.tiles = d <= kMostTrellisTiles;
  std::int8_t levels[kSkvTrellisLevels];
  for (unsigned i = 0; i < kSkvTrellisLevels; ++i) levels[i] = static_cast<std::int8_t>(skv_trellis_level(i));
  std::memcpy(view.level_bytes, levels, sizeof view.level_bytes);
  view.level_unit = static_cast<float>(trellis_unit(d));
}

}  // namespace spectralkv::device_kv
