// Where the noise ends: the bulk edge of a spectrum and the number of outliers beyond it.
#pragma once

#include <span>

namespace spectralkv {

// k, the width of the window of eigenvalues that the edge is read from: floor(d^c), c = min(1/2.01, 1/log(log
// d)), at least 1 ([S], arXiv 2207.03466). head_dim d >= 1. d = 64: 7, 80: 8, 96: 9, 128: 11, 256: 15.
int edge_window(int head_dim);

// The bulk edge lambda_plus [S], extrapolated with the square-root law of a spectral density at its edge:
//     lambda_{k+1} + (lambda_{k+1} - lambda_{2k+1}) / (2^(2/3) - 1)      (counted from 1).
// eigenvalues: [p] squared singular values, descending, p >= 2k + 1. Same unit out.
double bulk_edge(std::span<const double> eigenvalues, int k);

// The number of eigenvalues with lambda / edge - 1 > head_dim^(-1/3), the rank rule of [E] (arXiv
// 2605.02905). It never exceeds the k of the edge, since the edge is at least lambda_{k+1}. eigenvalues: [p],
// descending.
int count_outliers(std::span<const double> eigenvalues, double edge, int head_dim);

}  // namespace spectralkv
