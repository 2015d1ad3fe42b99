// The two symmetric densities that codebooks are made for, with the integrals that Lloyd-Max needs.
#pragma once

namespace spectralkv {

// Over one cell: the integrals of f(t), (t - level) f(t) and (t - level)^2 f(t).
struct CellIntegrals {
  double mass = 0, first = 0, second = 0;
};

// One coordinate of a random unit vector of `dim` >= 3 dimensions, of variance 1 / dim, with the density
// Gamma(d/2) / (sqrt(pi) Gamma((d-1)/2)) (1 - t^2)^((d-3)/2); or a standard normal number (dim = 0).
class CoordinateDensity {
 public:
  explicit CoordinateDensity(int dim);

  double variance() const { return dim_ == 0 ? 1.0 : 1.0 / dim_; }
  // The largest value there is: 1, or infinity.
  double end() const;
  // f(t), 0 <= t < end().
  double density(double t) const;
  // Over the cell [a, b], 0 <= a <= b <= end(), by Gauss-Legendre panels: relative error about 1e-13, without
  // cancellation, however narrow the cell is.
  CellIntegrals integrate(double a, double b, double level) const;

 private:
  int dim_;
  double norm_;  // f(0)
};

}  // namespace spectralkv
