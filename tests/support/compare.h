// Comparison with a bound from the size of the terms: |sum of n products| in f32 is off by at most (n + 2)
// eps sum |terms|.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/random.h"

namespace spectralkv::testing_support {

constexpr double kEps = 0x1p-24;  // f32 unit roundoff

inline std::vector<float> normals(std::uint64_t seed, std::size_t n, double scale = 1) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(scale * random_normal(seed, i));
  return x;
}

// Remembers the worst element and reports it with the share of the tolerance that it used.
class Comparison {
 public:
  explicit Comparison(std::string what) : what_(std::move(what)) {}
  void add(double got, double expected, double tolerance) {
    const double error = std::fabs(got - expected);
    const double used = std::isfinite(got) && std::isfinite(expected) ? error / tolerance : INFINITY;
    if (!(used <= worst_)) {
      worst_ = used;
      at_ = count_;
      got_ = got;
      expected_ = expected;
    }
    ++count_;
  }
  ~Comparison() {
    EXPECT_GT(count_, 0u) << what_ << ": nothing was compared";
    EXPECT_LE(worst_, 1.0) << what_ << ": element " << at_ << " is " << got_ << ", expected " << expected_
                           << ": " << 100 * worst_ << "% of the tolerance";
  }

 private:
  std::string what_;
  double worst_ = -1, got_ = 0, expected_ = 0;
  std::size_t at_ = 0, count_ = 0;
};

}  // namespace spectralkv::testing_support
