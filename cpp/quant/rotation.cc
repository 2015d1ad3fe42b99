// The rotations behind rotation.h.
#include "quant/rotation.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

// Gram-Schmidt, every row twice against all before it. The coefficients of the first are positive on the
// diagonal, the condition under which the orthogonal factor of a Gaussian matrix is Haar distributed.
void orthonormalize_rows(Buffer<double>& matrix, int dim) {
  const auto d = static_cast<std::size_t>(dim);
  for (std::size_t i = 0; i < d; ++i) {
    double* row = matrix.data() + i * d;
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t j = 0; j < i; ++j) {
        const double* earlier = matrix.data() + j * d;
        double dot = 0;
        for (std::size_t c = 0; c < d; ++c) dot += earlier[c] * row[c];
        for (std::size_t c = 0; c < d; ++c) row[c] -= dot * earlier[c];
      }
      double squares = 0;
      for (std::size_t c = 0; c < d; ++c) squares += row[c] * row[c];
      const double length = std::sqrt(squares);
      for (std::size_t c = 0; c < d; ++c) row[c] /= length;
    }
  }
}

constexpr std::int64_t kTileRows = 2, kTileCols = 16;

// out[r][c] = sum over j of in[r][j] * turn[j][c] in a tile of rows and columns, j ascending: a row's sums
// are the same however the rows and columns are tiled.
void combine_tile(ConstMatrix in, const float* turn, std::int64_t first_col, std::int64_t n_cols,
                  Matrix out) {
  float sum[kTileRows][kTileCols] = {};
  if (in.rows == kTileRows && n_cols == kTileCols) {  // fixed sizes: the sums stay in registers
    const float *a = in.row(0), *b = in.row(1), *row = turn + first_col;
    for (std::int64_t j = 0; j < in.cols; ++j, row += in.cols)
      for (std::int64_t c = 0; c < kTileCols; ++c) {
        sum[0][c] += a[j] * row[c];
        sum[1][c] += b[j] * row[c];
      }
  } else {
    for (std::int64_t r = 0; r < in.rows; ++r)
      for (std::int64_t j = 0; j < in.cols; ++j)
        for (std::int64_t c = 0; c < n_cols; ++c) sum[r][c] += in(r, j) * turn[j * in.cols + first_col + c];
  }
  for (std::int64_t r = 0; r < in.rows; ++r)
    for (std::int64_t c = 0; c < n_cols; ++c) out(r, first_col + c) = sum[r][c];
}

void combine_rows(ConstMatrix in, const float* turn, Matrix out) {
  for (std::int64_t r = 0; r < in.rows; r += kTileRows) {
    const std::int64_t rows = std::min(kTileRows, in.rows - r);
    for (std::int64_t c = 0; c < in.cols; c += kTileCols)
      combine_tile(in.rows_range(r, rows), turn, c, std::min(kTileCols, in.cols - c),
                   out.rows_range(r, rows));
  }
}

}  // namespace

std::string_view rotation_kind_name(RotationKind kind) {
  return kind == RotationKind::haar ? "haar" : "hadamard";
}

RotationKind rotation_kind_from_name(std::string_view name) {
  for (const RotationKind kind : kAllRotationKinds)
    if (rotation_kind_name(kind) == name) return kind;
  fail(ErrorKind::value, "quant", "unknown rotation '", name, "': expected haar or hadamard");
}

bool rotation_supports(RotationKind kind, int dim) {
  return dim >= 1 && dim <= 4096 &&
         (kind == RotationKind::haar || std::has_single_bit(static_cast<unsigned>(dim)));
}

Buffer<double> gaussian_matrix(int rows, int cols, std::uint64_t seed) {
  Buffer<double> matrix(static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols));
  for (std::size_t i = 0; i < matrix.size(); ++i)
    matrix[i] = std::nearbyint(random_normal(seed, i) * 0x1p24) * 0x1p-24;
  return matrix;
}

Rotation::Rotation(RotationKind kind, int dim, std::uint64_t seed) : kind_(kind), dim_(dim), seed_(seed) {
  check(dim >= 1 && dim <= 4096, "quant", "rotation of ", dim, " dimensions: expected 1 to 4096");
  check(rotation_supports(kind, dim), "quant", "a Hadamard rotation needs a power of two, not ", dim,
        " dimensions: take haar");
  const auto d = static_cast<std::size_t>(dim);
  if (kind == RotationKind::hadamard) {
    signs_ = Buffer<float>(d);
    const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
    for (std::size_t i = 0; i < d; ++i) signs_[i] = (random_bits(seed, i) >> 63) != 0 ? -scale : scale;
    return;
  }
  Buffer<double> exact = gaussian_matrix(dim, dim, seed);
  orthonormalize_rows(exact, dim);
  rows_ = Buffer<float>(d * d);
  columns_ = Buffer<float>(d * d);
  for (std::size_t i = 0; i < d; ++i)
    for (std::size_t j = 0; j < d; ++j)
      columns_[j * d + i] = rows_[i * d + j] = static_cast<float>(exact[i * d + j]);
}

void Rotation::apply(ConstMatrix in, Matrix out) const {
  assert(in.cols == dim_ && out.cols == dim_ && in.rows == out.rows);
  if (kind_ == RotationKind::haar) return combine_rows(in, columns_.data(), out);
  for (std::int64_t r = 0; r < in.rows; ++r) {
    float* row = out.row(r);
    for (std::int64_t c = 0; c < in.cols; ++c) row[c] = in(r, c) * signs_[static_cast<std::size_t>(c)];
    kernels().hadamard(row, in.cols);
  }
}

void Rotation::apply_transpose(ConstMatrix in, Matrix out) const {
  assert(in.cols == dim_ && out.cols == dim_ && in.rows == out.rows);
  if (kind_ == RotationKind::haar) return combine_rows(in, rows_.data(), out);
  for (std::int64_t r = 0; r < in.rows; ++r) {
    float* row = out.row(r);
    for (std::int64_t c = 0; c < in.cols; ++c) row[c] = in(r, c);
    kernels().hadamard(row, in.cols);
    for (std::int64_t c = 0; c < in.cols; ++c) row[c] *= signs_[static_cast<std::size_t>(c)];
  }
}

Buffer<float> Rotation::matrix() const {
  const auto d = static_cast<std::size_t>(dim_);
  Buffer<float> identity = Buffer<float>::zeros(d * d), result(d * d);
  for (std::size_t i = 0; i < d; ++i) identity[i * d + i] = 1.0f;
  apply_transpose({identity.data(), dim_, dim_}, {result.data(), dim_, dim_});  // row i is Pi^T e_i
  return result;
}

}  // namespace spectralkv
