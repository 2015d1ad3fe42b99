// The pipeline behind eoptshrink.h: spectrum, edge, rank, noise, shrinkage, vectors.
#include "spectral/eoptshrink.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "base/error.h"
#include "spectral/edge.h"
#include "spectral/noise_spectrum.h"
#include "spectral/shrinkers.h"

namespace spectralkv {

// All but the vectors, which get their room.
static EOptShrinkResult shrink_spectrum(std::span<const double> eigenvalues, double scale, ConstMatrix block,
                                        Loss loss) {
  EOptShrinkResult result;
  for (const double value : eigenvalues) result.singular_values.push_back(scale * std::sqrt(value));

  const int d = static_cast<int>(block.cols), p = static_cast<int>(eigenvalues.size());
  const int k = edge_window(d);
  if (p < 3 * k + 1) return result;
  const double edge = bulk_edge(eigenvalues, k);
  result.rank = count_outliers(eigenvalues, edge, d);
  result.edge = scale * scale * edge;
  result.imputed = impute_noise(eigenvalues, result.rank, k, edge);

  const double beta = static_cast<double>(p) / static_cast<double>(std::max(block.rows, block.cols));
  for (int i = 0; i < result.rank; ++i)
    result.shrunken.push_back(
        scale * shrink(d_transform(result.imputed, beta, eigenvalues[static_cast<std::size_t>(i)]), loss));
  for (double& value : result.imputed) value *= scale * scale;
  result.u.resize(static_cast<std::size_t>(result.rank * block.rows));
  result.v.resize(static_cast<std::size_t>(result.rank * block.cols));
  return result;
}

EOptShrinkResult eoptshrink(ConstMatrix block, Loss loss, GramSolver& workspace) {
  workspace.load(block);
  EOptShrinkResult result = shrink_spectrum(workspace.eigenvalues(), workspace.scale(), block, loss);
  workspace.leading_vectors(result.rank, result.u, result.v);
  return result;
}

void eoptshrink_lanes(std::span<const ConstMatrix> blocks, Loss loss, GramLanes& workspace,
                      std::span<EOptShrinkResult> results) {
  assert(results.size() == blocks.size());
  workspace.load(blocks);
  std::vector<int> ranks;
  std::vector<std::span<float>> left, right;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const int lane = static_cast<int>(i);
    results[i] = shrink_spectrum(workspace.eigenvalues(lane), workspace.scale(lane), blocks[i], loss);
    ranks.push_back(results[i].rank);
    left.emplace_back(results[i].u);
    right.emplace_back(results[i].v);
  }
  workspace.leading_vectors(ranks, left, right);
}

void low_rank_part(const EOptShrinkResult& result, Matrix out) {
  assert(result.u.size() == static_cast<std::size_t>(result.rank * out.rows) &&
         result.v.size() == static_cast<std::size_t>(result.rank * out.cols));
  for (std::int64_t t = 0; t < out.rows; ++t) {
    float* row = out.row(t);
    std::fill(row, row + out.cols, 0.0f);
    for (int i = 0; i < result.rank; ++i) {
      const float* v = result.right(i).data();
      const auto entry = static_cast<float>(result.shrunken[static_cast<std::size_t>(i)] *
                                            static_cast<double>(result.left(i)[static_cast<std::size_t>(t)]));
      for (std::int64_t c = 0; c < out.cols; ++c) row[c] += entry * v[c];
    }
  }
}

std::vector<EOptShrinkResult> eoptshrink_batch(std::span<const ConstMatrix> blocks, Loss loss,
                                               ThreadPool& pool) {
  std::vector<EOptShrinkResult> results(blocks.size());
  std::vector<GramSolver> workspaces(static_cast<std::size_t>(pool.size()));
  pool.for_each(static_cast<std::int64_t>(blocks.size()), [&](std::int64_t i, int thread) {
    const auto at = static_cast<std::size_t>(i);
    try {
      results[at] = eoptshrink(blocks[at], loss, workspaces[static_cast<std::size_t>(thread)]);
    } catch (const Error& error) {
      fail(error.kind(), "spectral", "block ", i, " of ", blocks.size(), ": ", error.what());
    }
  });
  return results;
}

}  // namespace spectralkv
