// Single eigenvectors of a symmetric tridiagonal matrix whose eigenvalues are known.
#pragma once

#include <span>
#include <vector>

namespace spectralkv {

// Inverse iteration: finds the `values.size()` eigenvectors that belong to the given eigenvalues and makes
// them orthonormal, which costs O(n) each where a full QR iteration costs O(n^2). diagonal: [n],
// off_diagonal: [n - 1], both at a scale where squares neither over- nor underflow. values: [r], descending,
// r <= n, accurate to a few roundings of the largest. vectors: [r, n] out, one eigenvector a row.
// Returns false when a vector failed its residual test; then the caller has to take a full solver.
bool tridiagonal_eigenvectors(std::span<const double> diagonal, std::span<const double> off_diagonal,
                              std::span<const double> values, std::span<double> vectors,
                              std::vector<double>& scratch);

}  // namespace spectralkv
