// Rotations and codebooks that many codec objects need, built once and kept: one a layer would repeat the
// same orthonormalisation dozens of times.
#pragma once

#include <cstdint>

#include "base/buffer.h"
#include "quant/lloyd_max.h"
#include "quant/rotation.h"
#include "tensor/matrix.h"

namespace spectralkv {

// The seed of every rotation of the cache. It is part of what stored blocks mean.
inline constexpr std::uint64_t kCacheRotationSeed = 20260502;

// out [m, dim] = x [m, dim] times a dense matrix [dim, dim], row i: what coordinate i becomes.
void multiply_rows(ConstMatrix x, const float* matrix, Matrix out);

// A rotation with both products at the speed of the kernels. Immutable.
class CacheRotation {
 public:
  CacheRotation(RotationKind kind, int dim);
  int dim() const { return rotation_.dim(); }
  // Each row y = Pi x, and x = Pi^T y. x, out: [m, dim], not overlapping.
  void enter(ConstMatrix x, Matrix out) const;
  void leave(ConstMatrix x, Matrix out) const;

 private:
  Rotation rotation_;
  Buffer<float> rows_, columns_;  // haar: Pi and its transpose
};

// Kept until the program ends; any thread may call.
const CacheRotation& shared_rotation(RotationKind kind, int dim);
const Codebook& shared_unit_codebook(int dim, int bits);
const Codebook& shared_gaussian_codebook(int bits);

// The kind that serves `dim`: a Hadamard rotation exists for powers of two alone, others take Haar.
RotationKind usable_rotation(RotationKind kind, int dim);

}  // namespace spectralkv
