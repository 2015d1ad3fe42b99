// The inverse iteration behind tridiagonal.h.
#include "spectral/tridiagonal.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>
#include <utility>

#include "base/random.h"

namespace spectralkv {
namespace {

constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
constexpr int kSteps = 4;  // two suffice from a random start; more serve ties

// P L U = T - shift I with row exchanges: U has two superdiagonals.
struct Factored {
  std::span<double> pivot, above, above2, multiplier, exchanged;  // [n] each
};

void factorize(std::span<const double> diagonal, std::span<const double> off, double shift, double tiny,
               const Factored& lu) {
  const std::size_t n = diagonal.size();
  double here = diagonal[0] - shift, next = n > 1 ? off[0] : 0.0;  // the row under elimination
  for (std::size_t i = 0; i + 1 < n; ++i) {
    const double below = off[i], below_diagonal = diagonal[i + 1] - shift;
    const double below_next = i + 2 < n ? off[i + 1] : 0.0;
    const bool exchange = std::fabs(below) > std::max(std::fabs(here), tiny);
    lu.exchanged[i] = exchange ? 1.0 : 0.0;
    if (exchange) {
      lu.pivot[i] = below;
      lu.above[i] = below_diagonal;
      lu.above2[i] = below_next;
      lu.multiplier[i] = here / below;
      here = next - lu.multiplier[i] * below_diagonal;
      next = -lu.multiplier[i] * below_next;
    } else {
      lu.pivot[i] = std::fabs(here) < tiny ? tiny : here;
      lu.above[i] = next;
      lu.above2[i] = 0.0;
      lu.multiplier[i] = below / lu.pivot[i];
      here = below_diagonal - lu.multiplier[i] * next;
      next = below_next;
    }
  }
  lu.pivot[n - 1] = std::fabs(here) < tiny ? tiny : here;
}

void solve(const Factored& lu, std::span<double> x) {
  const std::size_t n = x.size();
  for (std::size_t i = 0; i + 1 < n; ++i) {
    if (lu.exchanged[i] != 0.0) std::swap(x[i], x[i + 1]);
    x[i + 1] -= lu.multiplier[i] * x[i];
  }
  for (std::size_t i = n; i-- > 0;) {
    double sum = x[i];
    if (i + 1 < n) sum -= lu.above[i] * x[i + 1];
    if (i + 2 < n) sum -= lu.above2[i] * x[i + 2];
    x[i] = sum / lu.pivot[i];
  }
}

// Divides by the largest entry first: a solve can return entries near 1 / tiny.
bool normalize(std::span<double> x) {
  double largest = 0, sum = 0;
  for (const double value : x) largest = std::max(largest, std::fabs(value));
  if (!(largest > 0) || !std::isfinite(largest)) return false;
  for (double& value : x) {
    value /= largest;
    sum += value * value;
  }
  const double inverse = 1.0 / std::sqrt(sum);
  for (double& value : x) value *= inverse;
  return true;
}

void remove_components(std::span<const double> earlier, std::span<double> x) {
  const std::size_t n = x.size();
  for (std::size_t start = 0; start < earlier.size(); start += n) {
    double dot = 0;
    for (std::size_t i = 0; i < n; ++i) dot += earlier[start + i] * x[i];
    for (std::size_t i = 0; i < n; ++i) x[i] -= dot * earlier[start + i];
  }
}

double residual(std::span<const double> diagonal, std::span<const double> off, double value,
                std::span<const double> x) {
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = (diagonal[i] - value) * x[i];
    if (i > 0) sum += off[i - 1] * x[i - 1];
    if (i + 1 < x.size()) sum += off[i] * x[i + 1];
    worst = std::max(worst, std::fabs(sum));
  }
  return worst;
}

}  // namespace

bool tridiagonal_eigenvectors(std::span<const double> diagonal, std::span<const double> off_diagonal,
                              std::span<const double> values, std::span<double> vectors,
                              std::vector<double>& scratch) {
  const std::size_t n = diagonal.size();
  assert(off_diagonal.size() + 1 == n && vectors.size() == n * values.size() && values.size() <= n);
  double norm = 0;
  for (const double value : diagonal) norm = std::max(norm, std::fabs(value));
  for (const double value : off_diagonal) norm = std::max(norm, std::fabs(value));
  if (!(norm > 0)) return values.empty();
  scratch.resize(5 * n);
  const std::span<double> all(scratch);
  const Factored lu{all.subspan(0, n), all.subspan(n, n), all.subspan(2 * n, n), all.subspan(3 * n, n),
                    all.subspan(4 * n, n)};
  for (std::size_t r = 0; r < values.size(); ++r) {
    const std::span<double> x = vectors.subspan(r * n, n);
    const std::span<const double> earlier = vectors.first(r * n);
    factorize(diagonal, off_diagonal, values[r], kEpsilon * norm, lu);
    for (std::size_t i = 0; i < n; ++i) x[i] = random_uniform(r, i) - 0.5;
    const double bound = 64.0 * static_cast<double>(n) * kEpsilon * norm;
    bool found = false;
    for (int step = 0; step < kSteps && !found; ++step) {
      solve(lu, x);
      if (!normalize(x)) return false;
      // Twice: after the first pass a vector of a tie may be mostly rounding of the component removed.
      for (int pass = 0; pass < 2; ++pass) {
        remove_components(earlier, x);
        if (!normalize(x)) return false;
        if (earlier.empty()) break;
      }
      found = step > 0 && residual(diagonal, off_diagonal, values[r], x) <= bound;
    }
    if (!found) return false;
  }
  return true;
}

}  // namespace spectralkv
