// Loading of blocks, and the step from the short side's vectors to pairs.
#include "spectral/scaled_block.h"

#define EIGEN_MPL2_ONLY
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "base/error.h"

namespace spectralkv {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

[[noreturn]] void fail_not_finite(ConstMatrix block) {
  std::int64_t i = 0, j = 0;
  while (std::isfinite(block(i, j)))
    if (++j == block.cols) ++i, j = 0;
  fail(ErrorKind::value, "spectral", "block [", block.rows, ", ", block.cols, "] holds ", block(i, j),
       " at row ", i, ", column ", j);
}

}  // namespace

void ScaledBlock::load(ConstMatrix block) {
  check(block.rows >= 1 && block.cols >= 1, "spectral", "empty block [", block.rows, ", ", block.cols, "]");
  std::int32_t top = 0;  // magnitudes rise with their bits, infinity and NaN at the end
  for (std::int64_t i = 0; i < block.rows; ++i) {
    const float* row = block.row(i);
    for (std::int64_t j = 0; j < block.cols; ++j)
      top = std::max(top, std::bit_cast<std::int32_t>(row[j]) & 0x7fffffff);
  }
  if (top >= 0x7f800000) fail_not_finite(block);
  int exponent = 0;
  if (top > 0) std::frexp(static_cast<double>(std::bit_cast<float>(top)), &exponent);
  scale = std::ldexp(1.0, exponent);
  const double inverse = std::ldexp(1.0, -exponent);

  transposed = block.rows < block.cols;
  rows = std::max(block.rows, block.cols);
  cols = std::min(block.rows, block.cols);
  stride = (cols + 7) / 8 * 8;
  const auto size = static_cast<std::size_t>(rows * stride);
  if (values.size() < size) values = Buffer<double>(size);
  for (std::int64_t r = 0; r < rows; ++r) {
    double* __restrict to = values.data() + r * stride;
    if (transposed) {
      for (std::int64_t c = 0; c < cols; ++c) to[c] = inverse * static_cast<double>(block(c, r));
    } else {
      const float* from = block.row(r);
      for (std::int64_t c = 0; c < cols; ++c) to[c] = inverse * static_cast<double>(from[c]);
    }
    std::fill(to + cols, to + stride, 0.0);
  }
}

void pair_vectors(const ScaledBlock& block, int rank, std::span<const double> short_vectors,
                  std::span<float> left, std::span<float> right) {
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Index p = block.cols, n = block.rows;
  assert(short_vectors.size() == static_cast<std::size_t>(rank * p));
  assert(left.size() + right.size() == static_cast<std::size_t>(rank * (p + n)));
  const Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>> values(block.values.data(), n, p,
                                                                   Eigen::OuterStride<>(block.stride));
  const Eigen::Map<const MatrixXd> shorts(short_vectors.data(), p, rank);
  // The products Y v of two small outliers beside a huge one keep a little of the huge one: orthogonalise,
  // large first.
  MatrixXd longs = values * shorts;
  for (Index i = 0; i < rank; ++i) {
    auto column = longs.col(i);
    column.normalize();
    for (int pass = 0; pass < 2; ++pass) {
      for (Index j = 0; j < i; ++j) column -= longs.col(j).dot(column) * longs.col(j);
      column.normalize();
    }
  }

  for (Index i = 0; i < rank; ++i) {
    const auto a = shorts.col(i);
    const auto b = longs.col(i);
    Index at = 0;
    (block.transposed ? b.cwiseAbs().maxCoeff(&at) : a.cwiseAbs().maxCoeff(&at));
    const double sign = (block.transposed ? b(at) : a(at)) < 0 ? -1.0 : 1.0;
    const std::span<float> short_out = block.transposed ? left : right,
                           long_out = block.transposed ? right : left;
    for (Index t = 0; t < p; ++t)
      short_out[static_cast<std::size_t>(i * p + t)] = static_cast<float>(sign * a(t));
    for (Index t = 0; t < n; ++t)
      long_out[static_cast<std::size_t>(i * n + t)] = static_cast<float>(sign * b(t));
  }
}

}  // namespace spectralkv
