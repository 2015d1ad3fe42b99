// The singular values and the leading singular vectors of a block, by way of the Gram matrix of its short
// side.
#pragma once

#include <memory>
#include <span>

#include "tensor/matrix.h"

namespace spectralkv {

// Sorts the eigenvalues of a Gram matrix, descending. Those below its rounding, their number times epsilon
// times the largest, become 0.
void settle_eigenvalues(std::span<double> values);

// One block at a time, by Eigen: what gram_lanes.h does for eight. A solver and the memory that it works in:
// keep one a thread and reuse it. Single-threaded, in double, sums in a fixed order.
class GramSolver {
 public:
  GramSolver();
  GramSolver(GramSolver&&) noexcept;
  GramSolver& operator=(GramSolver&&) noexcept;
  ~GramSolver();

  // Takes a block [n, d], n and d >= 1, and computes its spectrum. A NaN or infinity is a value error.
  void load(ConstMatrix block);

  // [min(n, d)] squared singular values of the scaled block, descending. Those below the rounding of the Gram
  // matrix, min(n, d) epsilon times the largest, are 0.
  std::span<const double> eigenvalues() const;

  // The power of two: block = scale * scaled block. 1 for a block of zeros.
  double scale() const;

  // The first `rank` singular vectors: left [rank, n], right [rank, d], one unit vector a row, each set
  // orthonormal; in each pair the largest entry of the right vector is positive. Needs eigenvalues()[rank -
  // 1] > 0.
  void leading_vectors(int rank, std::span<float> left, std::span<float> right);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace spectralkv
