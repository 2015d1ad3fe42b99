// The codebooks behind lloyd_max.h: Lloyd's conditions solved by Newton's method.
#include "quant/lloyd_max.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "quant/code_math.h"
#include "quant/density.h"

namespace spectralkv {
namespace {

using Levels = std::vector<double>;  // the positive half, ascending; the boundary below the first is 0

// Cell i of the positive half is [edge(i), edge(i + 1)].
double cell_edge(const CoordinateDensity& density, const Levels& levels, std::size_t i) {
  if (i == 0) return 0;
  return i == levels.size() ? density.end() : 0.5 * (levels[i - 1] + levels[i]);
}

// The levels of the asymptotically best quantiser, whose point density is the cube root of the density: for a
// unit vector's coordinate that is one of d / 3 + 2 dimensions, for a normal number one of three times the
// variance. A normal quantile z stands for z / sqrt(z^2 + d - 1) on the sphere, near enough for a start.
Levels starting_levels(int dim, std::size_t n) {
  Levels levels(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double wanted = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
    double low = 0, high = 6;
    for (int step = 0; step < 50; ++step) {
      const double middle = 0.5 * (low + high);
      (std::erf(middle) < wanted ? low : high) = middle;
    }
    const double z = std::numbers::sqrt2 * low;
    levels[i] = dim == 0 ? std::numbers::sqrt3 * z : z / std::sqrt(z * z + dim / 3.0 + 1.0);
  }
  return levels;
}

// E(t - level)^2 / E t^2.
double distortion(const CoordinateDensity& density, const Levels& levels) {
  double sum = 0;
  for (std::size_t i = 0; i < levels.size(); ++i)
    sum +=
        density.integrate(cell_edge(density, levels, i), cell_edge(density, levels, i + 1), levels[i]).second;
  return 2 * sum / density.variance();
}

// Lloyd's step: every level to the centroid of its cell.
void lloyd_step(const CoordinateDensity& density, Levels& levels) {
  const Levels old = levels;
  for (std::size_t i = 0; i < old.size(); ++i) {
    const CellIntegrals cell =
        density.integrate(cell_edge(density, old, i), cell_edge(density, old, i + 1), old[i]);
    if (cell.mass > 0) levels[i] += cell.first / cell.mass;
  }
}

// One Newton step for: the first moment of every cell about its level is 0. The Jacobian is symmetric and
// tridiagonal. Returns the largest change; or -1, having changed nothing, when the step would break the order
// of the levels.
double newton_step(const CoordinateDensity& density, Levels& levels) {
  const std::size_t n = levels.size();
  std::vector<double> diagonal(n), beside(n, 0.0), step(n);
  for (std::size_t i = 0; i < n; ++i) {
    const double a = cell_edge(density, levels, i), b = cell_edge(density, levels, i + 1);
    const CellIntegrals cell = density.integrate(a, b, levels[i]);
    step[i] = -cell.first;
    diagonal[i] = -cell.mass;
    if (i + 1 < n) beside[i] = 0.5 * (b - levels[i]) * density.density(b);
    diagonal[i] += beside[i];
    if (i > 0) {
      diagonal[i] += beside[i - 1];
      const double factor = beside[i - 1] / diagonal[i - 1];
      diagonal[i] -= factor * beside[i - 1];
      step[i] -= factor * step[i - 1];
    }
  }
  double largest = 0;
  for (std::size_t i = n; i-- > 0;) {
    step[i] = (step[i] - (i + 1 < n ? beside[i] * step[i + 1] : 0.0)) / diagonal[i];
    largest = std::max(largest, std::fabs(step[i]));
  }
  // No level may move by more than 0.4 of the gap to the one below: that keeps them in order.
  double damping = 1;
  for (std::size_t i = 0; i < n; ++i) {
    const double gap = levels[i] - (i == 0 ? -levels[0] : levels[i - 1]);
    damping = std::min(damping, 0.4 * gap / std::max(std::fabs(step[i]), 1e-300));
  }
  Levels moved = levels;
  for (std::size_t i = 0; i < n; ++i) moved[i] += damping * step[i];
  // Far from the solution a step can throw an outer level to where no mass is left. Rounding excuses the last
  // steps.
  const bool better =
      moved.back() < density.end() && distortion(density, moved) < distortion(density, levels);
  if (!better && !(largest < 1e-6 * std::sqrt(density.variance()))) return -1;
  levels = moved;
  return largest;
}

Codebook make_codebook(int dim, int bits) {
  check(bits >= 1 && bits <= kMaxCodeBits, "quant", "codebook of ", bits, " bits: expected 1 to ",
        kMaxCodeBits);
  const CoordinateDensity density(dim);
  const std::size_t half = std::size_t{1} << (bits - 1);
  Levels levels = starting_levels(dim, half);
  const double enough = 1e-11 * std::sqrt(density.variance());
  double change = -1;
  // Newton converges in a few rounds; Lloyd's step stands in where a step fails.
  for (int round = 0; round < 1000 && !(change >= 0 && change < enough); ++round) {
    change = newton_step(density, levels);
    if (change < 0) lloyd_step(density, levels);
  }
  Codebook book;
  book.bits = bits;
  book.distortion = distortion(density, levels);
  for (std::size_t i = half; i-- > 0;) book.levels.push_back(-static_cast<float>(levels[i]));
  for (std::size_t i = 0; i < half; ++i) book.levels.push_back(static_cast<float>(levels[i]));
  for (std::size_t i = 1; i < book.levels.size(); ++i)
    book.boundaries.push_back(0.5f * (book.levels[i - 1] + book.levels[i]));
  return book;
}

}  // namespace

Codebook unit_vector_codebook(int dim, int bits) {
  check(dim >= 3 && dim <= 65536, "quant", "codebook for vectors of ", dim,
        " dimensions: expected 3 to 65536");
  return make_codebook(dim, bits);
}

Codebook gaussian_codebook(int bits) {
  return make_codebook(0, bits);
}

void nearest_codes(const Codebook& codebook, const float* values, int n, std::uint8_t* codes) {
  const float* boundaries = codebook.boundaries.data();
  if (codebook.bits <=
      4) {  // count the boundaries below: no lookups, so the compiler turns it into vector compares
    std::fill(codes, codes + n, std::uint8_t{0});
    for (std::size_t b = 0; b < codebook.boundaries.size(); ++b) {
      const float boundary = boundaries[b];
      for (int i = 0; i < n; ++i)
        codes[i] = static_cast<std::uint8_t>(codes[i] + (values[i] > boundary ? 1 : 0));
    }
    return;
  }
  for (int i = 0; i < n; ++i)
    codes[i] = static_cast<std::uint8_t>(nearest_code(boundaries, codebook.bits, values[i]));
}

}  // namespace spectralkv
