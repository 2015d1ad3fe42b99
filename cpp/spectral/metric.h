// The metric of a head's queries: a stretch of head space after which an error that is the same in all
// directions costs logits least.
#pragma once

#include <cstdint>
#include <span>

#include "tensor/matrix.h"

namespace spectralkv {

// Stored keys k' = T k meet queries q' = T^-1 q. Of an error e' that is white in the space of k', q' e' has
// the mean square tr(M T^-2) / d times its energy, and the energy grows with tr(S T^2): their product is
// least for
//     T^2  =  M^1/2 (M^1/2 S M^1/2)^-1/2 M^1/2
// (design of this project; the geometric mean of M and the inverse of S). queries: M [d, d], second moments
// of a group's queries; residuals: S [d, d], of what keys leave behind their low-rank part. Both symmetric,
// not negative, finite; `ridge` times the mean of its diagonal is added to each, so that no direction counts
// nothing. out: T [d, d], symmetric, tr(T^2) = d.
void query_metric(std::span<const double> queries, std::span<const double> residuals, double ridge,
                  Matrix out);

// Whether a symmetric matrix [d, d] has positive eigenvalues alone, none below 2^-12 of the largest.
bool is_stretch(ConstMatrix t);

// out [d, d] = the inverse of a stretch.
void invert_stretch(ConstMatrix t, Matrix out);

// M [d, d] of interleaved pairs (coordinates 2 p and 2 p + 1 are turned together) as it is on average after a
// turn by angles[p] o, over o from 0 to `span`: later queries see a key from further on. In place.
void average_over_turns(std::span<double> moments, std::span<const double> angles, double span);

}  // namespace spectralkv
