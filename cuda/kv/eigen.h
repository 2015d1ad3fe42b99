// Many symmetric eigenproblems of one size: all eigenvalues, and vectors of the largest (eigen.cuh).
#pragma once

#include <cstdint>

#include "base/host_device.h"

namespace spectralkv::device_kv {

struct EigenArgs {
  int p;                // at most kMostHeadDim
  double* matrices;     // [count, p, p], symmetric; lost
  double* values;       // [count, p], rising
  double* tridiagonal;  // [count, 3, p]: diagonal, what stands beside it, and the reflectors' sizes
  double* work;         // [count, p, 3, kMostRank]
  double* vectors;      // [count, kMostRank, p], of the largest eigenvalues, the largest first
  // Which of the matrices there are: of every `apart` the `run` from `first` on.
  int first = 0, run = 1, apart = 1;

  SKV_HD std::int64_t number(unsigned i) const {
    return first + static_cast<std::int64_t>(static_cast<int>(i) / run) * apart + static_cast<int>(i) % run;
  }
};

}  // namespace spectralkv::device_kv
