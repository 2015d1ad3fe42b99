// eOptShrink: the low-rank part of a block, with singular values shrunken to what the noise leaves of them.
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "spectral/gram.h"
#include "spectral/gram_lanes.h"
#include "spectral/loss.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What is found in a block [n, d]. Singular values carry the unit of the block.
struct EOptShrinkResult {
  int rank = 0;
  double edge = 0;  // bulk edge, a squared singular value; 0 for a block too short to have one
  std::vector<double> singular_values;  // [min(n, d)] as observed, descending
  std::vector<double> imputed;   // [min(n, d) - rank] noise spectrum, squared; empty for a block too short
  std::vector<double> shrunken;  // [rank] phi, each in [0, observed]
  std::vector<float> u, v;       // [rank, n] and [rank, d]: one unit vector a row, each set orthonormal

  // u_i, [n], and v_i, [d]: the low-rank part is the sum of shrunken[i] u_i v_i^T.
  std::span<const float> left(int i) const { return vector_of(u, i); }
  std::span<const float> right(int i) const { return vector_of(v, i); }

 private:
  std::span<const float> vector_of(const std::vector<float>& all, int i) const {
    const std::size_t length = all.size() / static_cast<std::size_t>(rank);
    return std::span<const float>(all).subspan(static_cast<std::size_t>(i) * length, length);
  }
};

// eOptShrink with the rank rule of eOptShrinkQ ([S] arXiv 2207.03466, [E] arXiv 2605.02905). block: [n, d], n
// tokens (or whatever the rows are) of head dim d, any unit; n < d is fine. The rank is 0 when min(n, d) < 3k
// + 1, k = edge_window(d). A NaN or infinity is a value error that names row and column; the caller adds
// whose block it was.
EOptShrinkResult eoptshrink(ConstMatrix block, Loss loss, GramSolver& workspace);

// The same of up to GramLanes::kMost blocks of one shape, within rounding, several times as fast. results:
// one a block.
void eoptshrink_lanes(std::span<const ConstMatrix> blocks, Loss loss, GramLanes& workspace,
                      std::span<EOptShrinkResult> results);

// The low-rank part itself. out: [n, d].
void low_rank_part(const EOptShrinkResult& result, Matrix out);

// Many blocks, each the same as alone, over the threads of a pool. Results come in the blocks' order. An
// error names the block's place in the list.
std::vector<EOptShrinkResult> eoptshrink_batch(std::span<const ConstMatrix> blocks, Loss loss,
                                               ThreadPool& pool);

}  // namespace spectralkv
