// The spectrum that the noise alone would have shown: outliers dropped, the points that they displaced
// imputed.
#pragma once

#include <span>
#include <vector>

namespace spectralkv {

// [S] (arXiv 2207.03466). Drops the `rank` leading eigenvalues and replaces the next k, which repulsion from
// the outliers has moved, by quantiles of a square-root edge:
//     l_j = lambda_{r+k+1} + (1 - (j/k)^(2/3)) / (2^(2/3) - 1) (lambda_{r+k+1} - lambda_{r+2k+1}),   j
//     = 1..k.
// eigenvalues: [p] squared singular values, descending, p >= rank + 2k + 1, k >= 1. edge: their bulk edge,
// which all `rank` outliers exceed. Returns the p - rank points, descending, same unit.
//
// A spectrum that falls off right below its leading points can push l_1 to an outlier or above it, where the
// transforms of shrinkers.h have no meaning. Then, and only then, the l_j are cut at the edge.
std::vector<double> impute_noise(std::span<const double> eigenvalues, int rank, int k, double edge);

}  // namespace spectralkv
