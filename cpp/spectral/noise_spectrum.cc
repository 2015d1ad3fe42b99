// The imputation behind noise_spectrum.h.
#include "spectral/noise_spectrum.h"

#include <algorithm>
#include <cassert>

#include "spectral/spectrum_math.h"

namespace spectralkv {

std::vector<double> impute_noise(std::span<const double> eigenvalues, int rank, int k, double edge) {
  assert(rank >= 0 && k >= 1 && eigenvalues.size() >= static_cast<std::size_t>(rank + 2 * k + 1));
  std::vector<double> noise(eigenvalues.begin() + rank, eigenvalues.end());
  const double near = noise[static_cast<std::size_t>(k)];
  const double far = noise[static_cast<std::size_t>(2 * k)];
  for (int j = 1; j <= k; ++j) noise[static_cast<std::size_t>(j - 1)] = imputed_point(near, far, j, k);
  if (rank > 0 && noise[0] >= eigenvalues[static_cast<std::size_t>(rank - 1)])
    for (int j = 0; j < k; ++j)
      noise[static_cast<std::size_t>(j)] = std::min(noise[static_cast<std::size_t>(j)], edge);
  return noise;
}

}  // namespace spectralkv
