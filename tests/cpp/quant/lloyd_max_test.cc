// Codebooks against published figures, the optimality conditions, and empirical distortion.
#include "quant/lloyd_max.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/random.h"
#include "quant/density.h"

namespace spectralkv {
namespace {

TEST(LloydMax, DistortionTable) {
  const double gaussian[] = {.3634, .1175, .0346, .0095}, d128[] = {.3609, .1160, .0340, .0093};
  const double d64[] = {.3584, .1145, .0334, .0091};
  for (int bits = 1; bits <= 4; ++bits) {  // all printed digits: |difference| <= half of the last one
    EXPECT_NEAR(gaussian_codebook(bits).distortion, gaussian[bits - 1], 0.500001e-4 + 1e-5);
    EXPECT_NEAR(unit_vector_codebook(128, bits).distortion, d128[bits - 1], 0.500001e-4 + 1e-5);
    EXPECT_NEAR(unit_vector_codebook(64, bits).distortion, d64[bits - 1], 0.500001e-4 + 1e-5);
  }
}

TEST(LloydMax, GaussianLevels) {
  const std::vector<std::vector<double>> expected = {
      {.7979},
      {.4528, 1.5104},
      {.2451, .7560, 1.3439, 2.1519},
      {.1284, .3880, .6568, .9423, 1.2562, 1.6180, 2.0690, 2.7326}};
  for (int bits = 1; bits <= 4; ++bits) {
    const auto& positive = expected[static_cast<std::size_t>(bits - 1)];
    const Codebook book = gaussian_codebook(bits);
    ASSERT_EQ(book.levels.size(), 2 * positive.size());
    for (std::size_t i = 0; i < positive.size(); ++i)
      EXPECT_NEAR(static_cast<double>(book.levels[positive.size() + i]), positive[i], 0.51e-4);
  }
}

TEST(LloydMax, ConditionsHoldForEveryWidthAndDimension) {
  for (const int dim : {0, 3, 4, 8, 16, 64, 80, 96, 112, 128, 256, 1024, 65536})
    for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
      SCOPED_TRACE(::testing::Message() << "dim " << dim << ", bits " << bits);
      const Codebook book = dim == 0 ? gaussian_codebook(bits) : unit_vector_codebook(dim, bits);
      const std::size_t n = std::size_t{1} << bits, half = n / 2;
      ASSERT_EQ(book.levels.size(), n);
      ASSERT_EQ(book.boundaries.size(), n - 1);
      const CoordinateDensity density(dim);
      const double deviation = std::sqrt(density.variance());
      EXPECT_EQ(book.boundaries[half - 1], 0.0f);
      double low = 0, total_mass = 0, second = 0;
      for (std::size_t i = 0; i < half; ++i) {
        const double level = static_cast<double>(book.levels[half + i]);
        EXPECT_EQ(book.levels[half - 1 - i], -book.levels[half + i]);
        EXPECT_GT(level, low);
        const double high =
            i + 1 < half ? 0.5 * (level + static_cast<double>(book.levels[half + i + 1])) : density.end();
        if (i + 1 < half) {
          EXPECT_FLOAT_EQ(book.boundaries[half + i], static_cast<float>(high));
        }
        const CellIntegrals cell = density.integrate(low, high, level);
        // The centroid of the cell, to float rounding of the level and of the boundaries (a level near the
        // end is up to 1 or some 5 deviations).
        EXPECT_NEAR(cell.first / cell.mass, 0, 2.0e-7 * std::min(1.0, 8 * deviation) + 1e-9 * deviation);
        total_mass += 2 * cell.mass;
        second += 2 * cell.second;
        low = high;
      }
      EXPECT_NEAR(total_mass, 1, 1e-10);
      EXPECT_NEAR(second / density.variance(), book.distortion, 1e-9);
      EXPECT_GT(book.distortion, std::pow(4.0, -bits) * (dim == 0 ? 1 : 0.99));
    }
}

TEST(LloydMax, DimensionThreeIsUniform) {
  for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
    const Codebook book = unit_vector_codebook(3, bits);
    const double n = std::pow(2.0, bits);
    EXPECT_NEAR(book.distortion, 1 / (n * n), 1e-9);
    for (std::size_t i = 0; i < book.levels.size(); ++i)
      EXPECT_NEAR(static_cast<double>(book.levels[i]), (2 * static_cast<double>(i) + 1) / n - 1, 1e-7);
  }
}

TEST(LloydMax, NearestCodesAreNearest) {
  for (int bits = 1; bits <= kMaxCodeBits; ++bits) {
    const Codebook book = unit_vector_codebook(64, bits);
    std::vector<float> values;
    for (std::uint64_t i = 0; i < 997; ++i) values.push_back(static_cast<float>(random_normal(1, i) / 8));
    values.insert(values.end(), {-10.0f, 10.0f, 0.0f, -0.0f});
    values.insert(values.end(), book.boundaries.begin(), book.boundaries.end());
    std::vector<std::uint8_t> codes(values.size());
    nearest_codes(book, values.data(), static_cast<int>(values.size()), codes.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      std::size_t code = 0;  // the definition
      while (code < book.boundaries.size() && values[i] > book.boundaries[code]) ++code;
      ASSERT_EQ(codes[i], code) << values[i];
    }
  }
}

TEST(LloydMax, RefusesWhatDoesNotExist) {
  EXPECT_THROW(unit_vector_codebook(2, 2), Error);
  EXPECT_THROW(unit_vector_codebook(64, 0), Error);
  EXPECT_THROW(unit_vector_codebook(64, 9), Error);
  EXPECT_THROW(gaussian_codebook(0), Error);
}

}  // namespace
}  // namespace spectralkv
