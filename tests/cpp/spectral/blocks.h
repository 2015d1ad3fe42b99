// Random blocks for the spectral tests: white noise with spikes of known size and direction.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "base/random.h"
#include "tensor/matrix.h"

namespace spectralkv::testing {

// Statistics repeat this often; a build without optimisation takes a tenth.
#ifdef NDEBUG
inline constexpr int kDraws = 300;
#else
inline constexpr int kDraws = 30;
#endif

struct Block {
  std::int64_t n = 0, d = 0;
  std::vector<float> values;  // [n, d]
  std::vector<double> u, v;   // [spikes, n], [spikes, d], orthonormal
  ConstMatrix view() const { return {values.data(), n, d}; }
};

// `count` orthonormal vectors of length n, one a row.
inline std::vector<double> orthonormal(int count, std::int64_t n, std::uint64_t seed) {
  const auto length = static_cast<std::size_t>(n);
  std::vector<double> rows(static_cast<std::size_t>(count) * length);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = random_normal(seed, i);
  for (std::size_t i = 0; i < rows.size(); i += length)
    for (int pass = 0; pass < 2; ++pass) {
      for (std::size_t j = 0; j < i; j += length) {
        double dot = 0;
        for (std::size_t c = 0; c < length; ++c) dot += rows[i + c] * rows[j + c];
        for (std::size_t c = 0; c < length; ++c) rows[i + c] -= dot * rows[j + c];
      }
      double squares = 0;
      for (std::size_t c = 0; c < length; ++c) squares += rows[i + c] * rows[i + c];
      for (std::size_t c = 0; c < length; ++c) rows[i + c] /= std::sqrt(squares);
    }
  return rows;
}

// sum of spikes[i] u_i v_i^T plus noise of variance noise^2 / max(n, d).
inline Block spiked_block(std::int64_t n, std::int64_t d, const std::vector<double>& spikes,
                          std::uint64_t seed, double noise = 1.0) {
  Block block{n, d, std::vector<float>(static_cast<std::size_t>(n * d)), {}, {}};
  const int count = static_cast<int>(spikes.size());
  block.u = orthonormal(count, n, 3 * seed + 1);
  block.v = orthonormal(count, d, 3 * seed + 2);
  const double deviation = noise / std::sqrt(static_cast<double>(std::max(n, d)));
  for (std::size_t t = 0; t < static_cast<std::size_t>(n); ++t)
    for (std::size_t c = 0; c < static_cast<std::size_t>(d); ++c) {
      const std::size_t at = t * static_cast<std::size_t>(d) + c;
      double sum = deviation * random_normal(3 * seed, at);
      for (std::size_t i = 0; i < spikes.size(); ++i)
        sum += spikes[i] * block.u[i * static_cast<std::size_t>(n) + t] *
               block.v[i * static_cast<std::size_t>(d) + c];
      block.values[at] = static_cast<float>(sum);
    }
  return block;
}

// Mean and standard deviation of what was added.
class Sample {
 public:
  void add(double x) {
    ++n_;
    const double delta = x - mean_;
    mean_ += delta / n_;
    squares_ += delta * (x - mean_);
  }
  int size() const { return n_; }
  double mean() const { return mean_; }
  double deviation() const { return std::sqrt(squares_ / (n_ - 1)); }
  double standard_error() const { return deviation() / std::sqrt(static_cast<double>(n_)); }

 private:
  int n_ = 0;
  double mean_ = 0, squares_ = 0;
};

}  // namespace spectralkv::testing
