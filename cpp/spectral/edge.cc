// The formulas behind edge.h.
#include "spectral/edge.h"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "spectral/spectrum_math.h"

namespace spectralkv {

int edge_window(int head_dim) {
  assert(head_dim >= 1);
  double c = 1.0 / 2.01;
  // log(log d) is positive from d = 3 on and the smaller exponent from d = 1742 on.
  if (head_dim >= 3) c = std::min(c, 1.0 / std::log(std::log(static_cast<double>(head_dim))));
  return std::max(1, static_cast<int>(std::pow(static_cast<double>(head_dim), c)));
}

double bulk_edge(std::span<const double> eigenvalues, int k) {
  assert(k >= 1 && eigenvalues.size() >= static_cast<std::size_t>(2 * k + 1));
  const double near = eigenvalues[static_cast<std::size_t>(k)];
  const double far = eigenvalues[static_cast<std::size_t>(2 * k)];
  return edge_of(near, far);
}

int count_outliers(std::span<const double> eigenvalues, double edge, int head_dim) {
  const double threshold = outlier_threshold(edge, head_dim);
  int rank = 0;
  for (const double eigenvalue : eigenvalues) rank += eigenvalue > threshold ? 1 : 0;
  return rank;
}

}  // namespace spectralkv
