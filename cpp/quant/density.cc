// The integrals behind density.h.
#include "quant/density.h"

#include <array>
#include <cassert>
#include <cmath>
#include <limits>
#include <numbers>

namespace spectralkv {
namespace {

struct Node {
  double at, length;
};

// Ten-point Gauss-Legendre on [-1, 1].
constexpr std::array kNodes = {
    Node{-0.9739065285171717, 0.0666713443086881}, Node{-0.8650633666889845, 0.1494513491505806},
    Node{-0.6794095682990244, 0.2190863625159820}, Node{-0.4333953941292472, 0.2692667193099963},
    Node{-0.1488743389816312, 0.2955242247147529}, Node{0.1488743389816312, 0.2955242247147529},
    Node{0.4333953941292472, 0.2692667193099963},  Node{0.6794095682990244, 0.2190863625159820},
    Node{0.8650633666889845, 0.1494513491505806},  Node{0.9739065285171717, 0.0666713443086881}};

}  // namespace

CoordinateDensity::CoordinateDensity(int dim) : dim_(dim) {
  assert(dim == 0 || dim >= 3);
  norm_ = dim == 0
              ? 1.0 / std::sqrt(2.0 * std::numbers::pi)
              : std::exp(std::lgamma(0.5 * dim) - std::lgamma(0.5 * (dim - 1))) / std::sqrt(std::numbers::pi);
}

double CoordinateDensity::end() const {
  return dim_ == 0 ? std::numeric_limits<double>::infinity() : 1.0;
}

double CoordinateDensity::density(double t) const {
  return norm_ * (dim_ == 0 ? std::exp(-0.5 * t * t) : std::pow(1.0 - t * t, 0.5 * (dim_ - 3)));
}

CellIntegrals CoordinateDensity::integrate(double a, double b, double level) const {
  // A unit vector's coordinate is t = sin(angle) with density cos(angle)^(d-2), which is smooth to the very
  // end. Intervals of half a standard deviation; 40 of them reach to where the density has vanished.
  const bool normal = dim_ == 0;
  const double low = normal ? a : std::asin(a), high = normal ? b : std::asin(b);
  const double interval = 0.5 * std::sqrt(variance());
  CellIntegrals sum;
  for (int i = 0; i < 40 && low + i * interval < high; ++i) {
    const double left = low + i * interval, right = std::fmin(left + interval, high);
    const double middle = 0.5 * (left + right), half = 0.5 * (right - left);
    for (const Node& node : kNodes) {
      const double angle = middle + half * node.at;
      const double t = normal ? angle : std::sin(angle);
      const double f = norm_ * (normal ? std::exp(-0.5 * t * t) : std::pow(std::cos(angle), dim_ - 2));
      const double mass = half * node.length * f;
      sum.mass += mass;
      sum.first += mass * (t - level);
      sum.second += mass * (t - level) * (t - level);
    }
  }
  return sum;
}

}  // namespace spectralkv
