// A block in double, ready for its Gram matrix: the long side along rows, near one in size.
#pragma once

#include <span>

#include "base/buffer.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Divided by a power of two that brings the largest entry into [1/2, 1): a huge or a tiny block neither over-
// nor underflows, and scaling a block by a power of two scales the results exactly.
struct ScaledBlock {
  std::int64_t rows = 0, cols = 0;  // the longer and the shorter side
  std::int64_t stride = 0;          // cols rounded up to 8; zeros behind them
  bool transposed = false;          // rows are the block's columns
  double scale = 1;                 // block = scale * scaled block; 1 for zeros
  Buffer<double> values;            // [rows, stride]

  // block: [n, d], n and d >= 1. A NaN or infinity is a value error that names row and column.
  void load(ConstMatrix block);
};

// The singular vectors that belong to the r leading unit vectors of the short side, short_vectors [r, cols]:
// left [r, n], right [r, d], one unit vector a row, each set orthonormal; in each pair the largest entry of
// the right vector is positive.
void pair_vectors(const ScaledBlock& block, int rank, std::span<const double> short_vectors,
                  std::span<float> left, std::span<float> right);

}  // namespace spectralkv
