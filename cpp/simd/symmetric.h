// Symmetric eigenproblems side by side: eight matrices, one in each lane of a vector of doubles. A lane's
// results depend on its own matrix alone.
//
// Matrices [n, n] hold element (i, j) of lane l at a[(i n + j) kLanes + l], vectors [n] element i at
// x[i kLanes + l].
#pragma once

#include <stdint.h>

namespace spectralkv::simd {

constexpr int64_t kLanes = 8;

struct SymmetricKernels {
  // Puts x^T x, x [rows, ld] with ld a multiple of 8, into a lane of a: the upper triangle of its first n <=
  // ld columns. work: 4 ld doubles.
  void (*gram)(const double* x, int64_t rows, int64_t ld, int64_t n, double* a, int64_t lane, double* work);

  // Householder's reduction to Q T Q^T, from the upper triangles of a: diagonal [n] and off-diagonal [n - 1]
  // of T. Afterwards row k of a holds behind its diagonal the k-th vector of Q = H_0 H_1 ..., H_k = I -
  // tau[k] v_k v_k^T, and tau [n] its factors. work: 2 n kLanes doubles. n >= 1.
  void (*tridiagonalize)(double* a, int64_t n, double* diagonal, double* off, double* tau, double* work);

  // Eigenvalues of tridiagonal matrices, in no order, into diagonal; off is destroyed. The QR
  // iteration without square roots of Pal, Walker and Kahan (Parlett, The Symmetric Eigenvalue
  // Problem, 8.15): off-diagonals below epsilon times the largest entry of a lane count as zero. False if a
  // lane did not converge.
  bool (*tridiagonal_eigenvalues)(double* diagonal, double* off, int64_t n);

  // x = Q x, x [n].
  void (*apply_reflectors)(const double* a, const double* tau, int64_t n, double* x);
};

}  // namespace spectralkv::simd
