// The formulas behind shrinkers.h.
#include "spectral/shrinkers.h"

#include <cassert>
#include <cmath>

#include "spectral/spectrum_math.h"

namespace spectralkv {

Outlier d_transform(std::span<const double> noise, double beta, double x) {
  assert(!noise.empty() && x > 0 && beta > 0 && beta <= 1);
  return d_transform_of([noise](int i) { return noise[static_cast<std::size_t>(i)]; },
                        static_cast<int>(noise.size()), beta, x);
}

double shrink(const Outlier& outlier, Loss loss) {
  return shrunken_value(outlier, loss);
}

}  // namespace spectralkv
