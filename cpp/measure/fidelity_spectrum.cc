// eOptShrink ([S] arXiv 2207.03466, [E] arXiv 2605.02905) of every block of a layer, and how evenly its
// residual is spread over the dimensions.
#include <algorithm>
#include <cmath>

#include "measure/fidelity_layer.h"
#include "spectral/eoptshrink.h"

namespace spectralkv {
namespace {

// Mean over the rows of max|r| / |r|; rows of zeros count as 0.
double mean_delocalisation(ConstMatrix rows) {
  double sum = 0;
  for (std::int64_t t = 0; t < rows.rows; ++t) {
    double top = 0, squares = 0;
    for (std::int64_t c = 0; c < rows.cols; ++c) {
      const double x = std::fabs(static_cast<double>(rows(t, c)));
      top = std::max(top, x);
      squares += x * x;
    }
    if (squares > 0) sum += top / std::sqrt(squares);
  }
  return sum / static_cast<double>(rows.rows);
}

struct Spread {
  double residual = 0, raw = 0;
};

Spread measure_spread(ConstMatrix block, const EOptShrinkResult& low) {
  std::vector<float> values(static_cast<std::size_t>(block.rows * block.cols));
  const Matrix residual(values.data(), block.rows, block.cols);
  low_rank_part(low, residual);
  for (std::int64_t t = 0; t < block.rows; ++t)
    for (std::int64_t c = 0; c < block.cols; ++c) residual(t, c) = block(t, c) - residual(t, c);
  return {mean_delocalisation(residual), mean_delocalisation(block)};
}

}  // namespace

std::vector<BlockRange> sealed_ranges(const CacheLayout& layout, std::int64_t n_context) {
  std::vector<BlockRange> ranges;
  for (std::int64_t b = 0; b < layout.sealed_for(n_context); ++b)
    ranges.push_back({layout.block_begin(b), layout.block_tokens(b)});
  return ranges;
}

std::vector<HeadSpectrum> measure_spectra(ConstMatrix side, std::int64_t head_dim,
                                          std::span<const BlockRange> blocks, ThreadPool& pool) {
  const auto heads = static_cast<std::size_t>(side.cols / head_dim);
  std::vector<ConstMatrix> views;
  for (std::size_t h = 0; h < heads; ++h)
    for (const BlockRange& b : blocks)
      views.push_back(
          side.rows_range(b.begin, b.n).cols_range(static_cast<std::int64_t>(h) * head_dim, head_dim));
  std::vector<EOptShrinkResult> found = eoptshrink_batch(views, Loss::truncate, pool);
  std::vector<Spread> spread(views.size());
  pool.for_each(static_cast<std::int64_t>(views.size()), [&](std::int64_t i, int) {
    const auto at = static_cast<std::size_t>(i);
    spread[at] = measure_spread(views[at], found[at]);
  });

  std::vector<HeadSpectrum> result(heads);
  const auto n_blocks = static_cast<double>(blocks.size());
  for (std::size_t h = 0; h < heads; ++h) {
    HeadSpectrum& head = result[h];
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      const EOptShrinkResult& low = found[h * blocks.size() + b];
      const Spread& s = spread[h * blocks.size() + b];
      head.ranks.push_back(low.rank);
      head.rank += low.rank / n_blocks;
      head.edge += low.edge / n_blocks;
      head.delocalisation += s.residual / n_blocks;
      head.raw_delocalisation += s.raw / n_blocks;
    }
    const std::size_t middle = blocks.size() / 2;
    EOptShrinkResult& low = found[h * blocks.size() + middle];
    head.shown = {static_cast<std::int64_t>(middle), low.rank, low.edge, std::move(low.singular_values)};
  }
  return result;
}

}  // namespace spectralkv
