// Quantised unit columns: the error of a Gaussian codebook, least-squares scale, columns that are not
// Gaussian at all.
#include "quant/factors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "base/half.h"
#include "base/random.h"

namespace spectralkv {
namespace {

TEST(Factors, RandomColumnsHaveTheGaussianDistortion) {
  for (int bits = 2; bits <= 8; ++bits) {
    const Codebook book = gaussian_codebook(bits);
    const int n = 128, columns = 500;
    double sum = 0, squares = 0;
    for (int i = 0; i < columns; ++i) {
      std::vector<float> u(n), hat(n);
      std::vector<std::uint16_t> codes;
      double length = 0;
      for (std::size_t t = 0; t < n; ++t) {
        u[t] = static_cast<float>(random_normal(static_cast<std::uint64_t>(i), t));
        length += static_cast<double>(u[t]) * static_cast<double>(u[t]);
      }
      for (float& value : u) value = static_cast<float>(static_cast<double>(value) / std::sqrt(length));
      const QuantizedColumn q = quantize_factor(u, book, codes);
      const float scale = skv_f16_to_f32(q.scale);
      for (std::size_t t = 0; t < n; ++t) hat[t] = scale * book.levels[codes[t]];
      double error = 0, cross = 0, levels = 0;
      for (std::size_t t = 0; t < n; ++t) {
        error += std::pow(static_cast<double>(u[t] - hat[t]), 2);
        cross += static_cast<double>(u[t]) * static_cast<double>(book.levels[codes[t]]);
        levels += std::pow(static_cast<double>(book.levels[codes[t]]), 2);
      }
      sum += error;
      squares += error * error;
      EXPECT_NEAR(static_cast<double>(scale), cross / levels, cross / levels * 0x1p-11);
      // The error that it returns has the scale before it became f16.
      EXPECT_NEAR(q.error, error, std::pow(cross / levels * 0x1p-11, 2) * levels + 1e-6 * error + 1e-12);
    }
    const double mean = sum / columns, error = std::sqrt((squares / columns - mean * mean) / columns);
    // Coordinates of a unit vector of 128 dimensions fall a little short of normal: 2% at 4 bits, table of
    // the codebooks. From 6 bits on the f16 scale shows, by at most 2^-22.
    const double expected = book.distortion;
    EXPECT_NEAR(mean, expected, 4 * error + 0.04 * expected + 0x1p-22) << bits;
  }
}

TEST(Factors, OddColumns) {
  const Codebook book = gaussian_codebook(4);
  for (const int n : {1, 2, 7, 128}) {
    std::vector<float> u(static_cast<std::size_t>(n), 0.0f), hat(u.size());
    std::vector<std::uint16_t> codes;
    EXPECT_EQ(quantize_factor(u, book, codes).scale, 0);
    u[0] = -1.0f;  // all on one token
    const float scale = skv_f16_to_f32(quantize_factor(u, book, codes).scale);
    for (std::size_t t = 0; t < u.size(); ++t) hat[t] = scale * book.levels[codes[t]];
    double error = 0;
    for (std::size_t t = 0; t < u.size(); ++t) error += std::pow(static_cast<double>(u[t] - hat[t]), 2);
    EXPECT_LT(error, 1.0);  // never worse than leaving the column out
    EXPECT_LT(hat[0], 0.0f);
  }
}

}  // namespace
}  // namespace spectralkv
