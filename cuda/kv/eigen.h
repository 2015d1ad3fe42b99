// Many symmetric eigenproblems of one size: all eigenvalues, and vectors of the largest (eigen.cuh).
#pragma once

#include <cstdint>

namespace spectralkv::device_kv {

struct EigenArgs {
  int p;                // at most kMostHeadDim
  double* matrices;     // [count, p, p], symmetric; lost
  double* values;       // [count, p], rising
  double* tridiagonal;  // [count, 3, p]: diagonal, what stands beside it, and the reflectors' sizes
  double* work;         // [count, p, 3, kMostRank]
  double* vectors;      // [count, kMostRank, p], of the largest eigenvalues, the largest first

  // From matrix number `first` on.
  EigenArgs from(std::int64_t first, int most_rank) const {
    return {p,
            matrices + first * p * p,
            values + first * p,
            tridiagonal + first * 3 * p,
            work + first * 3 * p * most_rank,
            vectors + first * most_rank * p};
  }
};

}  // namespace spectralkv::device_kv
