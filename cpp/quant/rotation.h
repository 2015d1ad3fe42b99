// Random rotations that spread a vector's energy evenly over its coordinates.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "base/buffer.h"
#include "tensor/matrix.h"

namespace spectralkv {

// haar: uniform over the orthogonal group, from a seeded Gaussian matrix, as in TurboQuant ([T], arXiv
// 2504.19874); O(d^2) a row. hadamard: random signs, then the Walsh-Hadamard transform over sqrt(d); O(d log
// d), d a power of two.
enum class RotationKind { haar, hadamard };

inline constexpr std::array kAllRotationKinds = {RotationKind::haar, RotationKind::hadamard};

// "haar", "hadamard"; the second throws a value error that lists the choices.
std::string_view rotation_kind_name(RotationKind kind);
RotationKind rotation_kind_from_name(std::string_view name);

// Whether that kind exists in `dim` dimensions.
bool rotation_supports(RotationKind kind, int dim);

// An orthogonal map of `dim` dimensions, immutable. The same (kind, dim, seed) gives the same numbers on
// every platform: the Gaussian entries are rounded to multiples of 2^-24, coarser than the last-place
// differences between maths libraries, and all else is +, -, *, / and sqrt in a fixed order.
class Rotation {
 public:
  // dim 1..4096. A dim that the kind does not support is a value error.
  Rotation(RotationKind kind, int dim, std::uint64_t seed);

  RotationKind kind() const { return kind_; }
  int dim() const { return dim_; }
  std::uint64_t seed() const { return seed_; }

  // Each row y = Pi x. in, out: [m, dim], not overlapping. What a row becomes does not depend on the rows
  // beside it.
  void apply(ConstMatrix in, Matrix out) const;
  // Each row x = Pi^T y, the inverse of apply.
  void apply_transpose(ConstMatrix in, Matrix out) const;

  // Pi as a matrix, [dim, dim], for other devices and for tests.
  Buffer<float> matrix() const;

 private:
  RotationKind kind_;
  int dim_;
  std::uint64_t seed_;
  Buffer<float> rows_, columns_;  // haar: Pi and its transpose, [dim, dim]
  Buffer<float> signs_;           // hadamard: +-1 / sqrt(dim), [dim]
};

// Rows of independent standard normal numbers of that seed, rounded to multiples of 2^-24: [rows, cols].
Buffer<double> gaussian_matrix(int rows, int cols, std::uint64_t seed);

}  // namespace spectralkv
