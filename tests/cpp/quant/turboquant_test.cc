// TurboQuant on random vectors: distortion, contraction, the scales, the inner-product form, and odd
// rows.
#include "quant/turboquant.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "base/half.h"
#include "base/random.h"

namespace spectralkv {
namespace {

struct Mean {
  double sum = 0, squares = 0;
  int n = 0;
  void add(double x) {
    sum += x;
    squares += x * x;
    ++n;
  }
  double mean() const { return sum / n; }
  double standard_error() const { return std::sqrt((squares / n - mean() * mean()) / (n - 1)); }
};

double dot(const float* a, const float* b, int n) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

std::vector<float> gaussian(int n, int d, std::uint64_t seed) {
  std::vector<float> x(static_cast<std::size_t>(n * d));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(seed, i));
  return x;
}

constexpr double kHalfRounding = 0x1p-11;  // the f16 norm's relative error at most

TEST(TurboQuant, DistortionAndContraction) {
  for (const RotationKind kind : kAllRotationKinds)
    for (const int d : {64, 128})
      for (int bits = 1; bits <= 4; ++bits) {
        SCOPED_TRACE(::testing::Message() << rotation_kind_name(kind) << " d " << d << " bits " << bits);
        const int n = 2000;
        const auto x = gaussian(n, d, 1);
        std::vector<float> y(x.size());
        turboquant_round_trip({x.data(), n, d}, bits, kind, 7, RowScale::norm, {y.data(), n, d});
        const double expected = unit_vector_codebook(d, bits).distortion;
        Mean distortion, contraction;
        for (int r = 0; r < n; ++r) {
          const float *a = x.data() + r * d, *b = y.data() + r * d;
          const double squares = dot(a, a, d);
          distortion.add((squares - 2 * dot(a, b, d) + dot(b, b, d)) / squares);
          contraction.add(dot(a, b, d) / squares);
        }
        EXPECT_NEAR(distortion.mean(), expected,
                    4 * distortion.standard_error() + kHalfRounding * kHalfRounding);
        // The rounding of norms is even-handed: its mean is far below its bound.
        EXPECT_NEAR(contraction.mean(), 1 - expected, 4 * contraction.standard_error() + kHalfRounding / 10);
      }
}

TEST(TurboQuant, InnerProductsContractOrAreUnbiased) {
  const int d = 64, n = 4000, bits = 2;
  // A query half along each vector; the slope <q, x_hat> / <q, x> averaged in proportion to <q, x>.
  const auto x = gaussian(n, d, 2), other = gaussian(n, d, 3);
  const double distortion = unit_vector_codebook(d, bits).distortion;
  const auto slope_error = [&](const std::vector<float>& hat, double slope) {
    Mean error;
    for (int r = 0; r < n; ++r) {
      std::vector<float> q(static_cast<std::size_t>(d));
      for (int i = 0; i < d; ++i)
        q[static_cast<std::size_t>(i)] =
            0.5f * x[static_cast<std::size_t>(r * d + i)] + other[static_cast<std::size_t>(r * d + i)];
      error.add(dot(q.data(), hat.data() + r * d, d) - slope * dot(q.data(), x.data() + r * d, d));
    }
    EXPECT_NEAR(error.mean(), 0, 4 * error.standard_error());
  };
  std::vector<float> hat(x.size());
  for (const RotationKind kind : kAllRotationKinds) {
    turboquant_round_trip({x.data(), n, d}, bits, kind, 8, RowScale::norm, {hat.data(), n, d});
    slope_error(hat, 1 - distortion);
    turboquant_round_trip({x.data(), n, d}, bits, kind, 8, RowScale::unbiased, {hat.data(), n, d});
    slope_error(hat, 1);
    turboquant_ip_round_trip({x.data(), n, d}, bits, kind, 8, {hat.data(), n, d});
    slope_error(hat, 1);
  }
}

TEST(TurboQuant, InnerProductFormHasItsKnownError) {
  // E|r - r_hat|^2 = (pi/2 - 1/d) |r|^2 over S, more than |r|^2 itself: worse than the mean-square form at
  // the same bits, which is why nobody ships it. One S serves all rows; its squared norm varies by a share of
  // sqrt(2) / d.
  const int d = 128, n = 500;
  const auto x = gaussian(n, d, 4);
  std::vector<float> ip(x.size()), mse(x.size());
  for (int bits = 2; bits <= 4; ++bits) {
    turboquant_ip_round_trip({x.data(), n, d}, bits, RotationKind::haar, 3, {ip.data(), n, d});
    turboquant_round_trip({x.data(), n, d}, bits, RotationKind::haar, 3, RowScale::norm, {mse.data(), n, d});
    Mean ip_error, mse_error;
    for (int r = 0; r < n; ++r) {
      const float *a = x.data() + r * d, *b = ip.data() + r * d, *c = mse.data() + r * d;
      ip_error.add((dot(a, a, d) - 2 * dot(a, b, d) + dot(b, b, d)) / dot(a, a, d));
      mse_error.add((dot(a, a, d) - 2 * dot(a, c, d) + dot(c, c, d)) / dot(a, a, d));
    }
    const double left_over = unit_vector_codebook(d, bits - 1).distortion;
    const double known = (std::numbers::pi / 2 - 1.0 / d) * left_over;
    EXPECT_NEAR(ip_error.mean(), known, 4 * ip_error.standard_error() + 4 * std::numbers::sqrt2 / d * known);
    EXPECT_GT(ip_error.mean(), mse_error.mean());
  }
}

TEST(TurboQuant, LeastSquaresIsTheBestScaleAndLengthKeepsLengths) {
  const int d = 96;
  const auto x = gaussian(50, d, 5);
  for (int bits = 1; bits <= 8; ++bits) {
    const Codebook book = unit_vector_codebook(d, bits);
    for (int r = 0; r < 50; ++r) {
      const float* row = x.data() + r * d;
      std::array<double, kAllRowScales.size()> errors{};
      for (const RowScale scale : kAllRowScales) {
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(d));
        std::vector<float> hat(static_cast<std::size_t>(d));
        dequantize_row(quantize_row(row, d, book, scale, codes.data()), codes.data(), d, book, hat.data());
        errors[static_cast<std::size_t>(scale)] =
            dot(row, row, d) - 2 * dot(row, hat.data(), d) + dot(hat.data(), hat.data(), d);
        if (scale == RowScale::length) {  // the scale is rounded to f16, each product to f32
          EXPECT_NEAR(std::sqrt(dot(hat.data(), hat.data(), d) / dot(row, row, d)), 1,
                      kHalfRounding + 0x1p-23);
        }
      }
      const double rounding = kHalfRounding * kHalfRounding * dot(row, row, d);
      const double least = errors[static_cast<std::size_t>(RowScale::least_squares)];
      for (const double error : errors) EXPECT_LE(least, error + rounding);
    }
  }
}

TEST(TurboQuant, OddRows) {
  const int d = 264;  // more than one chunk
  const Codebook book = unit_vector_codebook(d, 3);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(d));
  std::vector<float> hat(static_cast<std::size_t>(d));
  for (const RowScale scale : kAllRowScales) {
    std::vector<float> row(static_cast<std::size_t>(d), 0.0f);
    EXPECT_EQ(quantize_row(row.data(), d, book, scale, codes.data()), 0);
    for (const float value : {1e-45f, 1e-30f, 1e30f, 3e38f}) {
      std::fill(row.begin(), row.end(), value);
      const auto bits = quantize_row(row.data(), d, book, scale, codes.data());
      dequantize_row(bits, codes.data(), d, book, hat.data());
      for (const float back : hat) EXPECT_TRUE(std::isfinite(back));
      EXPECT_EQ(bits, value < 1 ? 0 : 0x7bff);  // underflow, or the largest finite f16
    }
    std::fill(row.begin(), row.end(), 0.0f);
    row[263] = -3.0f;
    const float factor = skv_f16_to_f32(quantize_row(row.data(), d, book, scale, codes.data()));
    EXPECT_EQ(codes[263], 0);
    EXPECT_GT(factor, 0.0f);
  }
}

TEST(TurboQuant, EncodeAndDecodeCheckTheirInput) {
  const TurboQuant quantizer(64, 2, RotationKind::hadamard, 1);
  auto x = gaussian(3, 64, 6);
  const ConstMatrix view(x.data(), 3, 64);
  std::vector<float> out(x.size());
  auto encoded = quantizer.encode(view);
  EXPECT_THROW(quantizer.encode({x.data(), 6, 32}), Error);
  EXPECT_THROW(quantizer.decode(encoded, {out.data(), 2, 64}), Error);
  encoded.codes[5] = 4;
  EXPECT_THROW(quantizer.decode(encoded, {out.data(), 3, 64}), Error);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    x[64 + 9] = bad;
    try {
      quantizer.encode(view);
      FAIL();
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find("row 1, column 9"), std::string::npos) << error.what();
    }
    EXPECT_THROW(turboquant_ip_round_trip(view, 2, RotationKind::haar, 1, {out.data(), 3, 64}), Error);
  }
  EXPECT_TRUE(quantizer.encode({x.data(), 0, 64}).codes.empty());
  EXPECT_THROW(row_scale_from_name("max"), Error);
  for (const RowScale scale : kAllRowScales) EXPECT_EQ(row_scale_from_name(row_scale_name(scale)), scale);
}

}  // namespace
}  // namespace spectralkv
