// The D-transform of a noise spectrum at an outlier, and the shrunken singular value for each loss.
#pragma once

#include <span>

#include "spectral/loss.h"

namespace spectralkv {

// [S] (arXiv 2207.03466), with m1, m2 the Stieltjes transforms of the two Gram matrices of the noise at x and
// T(x) = x m1 m2 the D-transform: an outlier at x comes from a signal value d_hat, and a1, a2 are the squared
// cosines between the observed and the true singular vectors.
struct Outlier {
  double x = 0;                 // the observed eigenvalue
  double t = 0, t_derived = 0;  // T(x) > 0 and T'(x) < 0
  double d_hat = 0;             // 1 / sqrt(T)
  double a1 = 0, a2 = 0;        // in [0, 1]
};

// noise: the imputed spectrum, every point >= 0 and below x, at least one point. beta = p / n in (0, 1], the
// aspect ratio of the block. x > 0.
Outlier d_transform(std::span<const double> noise, double beta, double x);

// The singular value to keep for that outlier, in [0, sqrt(x)].
double shrink(const Outlier& outlier, Loss loss);

}  // namespace spectralkv
