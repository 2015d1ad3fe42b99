// Weights on the device: every type against the decoders that define it, and products against plain sums.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <vector>

#include "base/random.h"
#include "cuda/backend/products.h"
#include "cuda/weights/dequantise.cuh"
#include "formats/encode.h"
#include "formats/formats.h"
#include "support/random_rows.h"

namespace spectralkv::weights_test {
namespace {

using device::DeviceBuffer;

// A matrix of one type, with what it decodes to.
struct Weights {
  std::vector<std::byte> bytes;
  std::vector<float> values;  // [rows, cols]
  WeightView view;

  Weights(DType type, std::int64_t rows, std::int64_t cols, std::uint64_t seed)
      : values(static_cast<std::size_t>(rows * cols)) {
    view.type = type;
    view.rows = rows;
    view.cols = cols;
    view.name = std::string("w");
    bytes.resize(static_cast<std::size_t>(view.bytes()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(random_normal(seed, i)) * (i % 7 == 0 ? 0.3f : 0.05f);
    const auto at = static_cast<std::size_t>(type);
    if (kEncode[at] != nullptr) {
      const std::vector<float> weights(static_cast<std::size_t>(cols), 1.0f);
      for (std::int64_t r = 0; r < rows; ++r)
        kEncode[at](values.data() + r * cols, weights.data(), bytes.data() + r * view.row_bytes(), cols);
    } else {
      const auto random = testing_support::random_rows(testing_support::kFormats[at], rows, cols, seed);
      std::memcpy(bytes.data(), random.data(), bytes.size());
    }
    view.data = bytes.data();
    for (std::int64_t r = 0; r < rows; ++r) kDecode[at](view.row(r), values.data() + r * cols, cols);
  }
};

std::vector<float> normal(std::size_t n, std::uint64_t seed) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random_normal(seed, i));
  return x;
}

template <class T>
std::vector<T> read(const DeviceBuffer<T>& from) {
  std::vector<T> values(from.size());
  from.read(values, nullptr);
  device::synchronize(nullptr);
  return values;
}

class EveryType : public testing::TestWithParam<DTypeInfo> {};

TEST_P(EveryType, DecodesAsTheFileDoes) {
  const std::int64_t unit = GetParam().block_values, rows = 5, cols = unit == 1 ? 37 : 3 * unit;
  const Weights w(GetParam().type, rows, cols, 3);
  DeviceBuffer<std::uint8_t> staging;
  const cuda::DeviceWeight on_device(w.view, staging, nullptr);
  DeviceBuffer<float> all(static_cast<std::size_t>(rows * cols)), chosen(static_cast<std::size_t>(2 * cols));
  on_device.rows(cuda::RowChoice{0, rows, nullptr}, all.data(), cols, nullptr);
  EXPECT_EQ(read(all), w.values);
  DeviceBuffer<std::int32_t> list(2);
  list.write(std::vector<std::int32_t>{4, 1}, nullptr);
  on_device.rows(cuda::RowChoice{0, 2, list.data()}, chosen.data(), cols, nullptr);
  const auto got = read(chosen);
  for (std::int64_t c = 0; c < cols; ++c) {
    EXPECT_EQ(got[static_cast<std::size_t>(c)], w.values[static_cast<std::size_t>(4 * cols + c)]);
    EXPECT_EQ(got[static_cast<std::size_t>(cols + c)], w.values[static_cast<std::size_t>(cols + c)]);
  }
}

// One rounding of the activations to `step` times the largest of 32, and sums in f32.
double tolerance(const float* w, const float* x, std::int64_t cols, double step) {
  double sum = 0;
  for (std::int64_t first = 0; first < cols; first += 32) {
    double most = 0, weights = 0;
    for (std::int64_t c = first; c < std::min(cols, first + 32); ++c) {
      most = std::max(most, std::abs(static_cast<double>(x[c])));
      weights += std::abs(static_cast<double>(w[c]));
    }
    sum += most * weights * (step + 32 * 6e-8);
  }
  return sum;
}

void check_products(DType type, std::int64_t n, bool exact, std::int64_t rows = 9, std::int64_t more = 0) {
  const std::int64_t unit = dtype_info(type).block_values;
  const std::int64_t cols = (unit == 1 ? 136 : unit == 32 ? 160 : 768) + more;
  const Weights a(type, rows, cols, 5), b(type, 4, cols, 6);
  const auto x = normal(static_cast<std::size_t>(n * cols), 7),
             bias = normal(static_cast<std::size_t>(rows), 8);
  DeviceBuffer<std::uint8_t> staging;
  const cuda::DeviceWeight on_a(a.view, staging, nullptr), on_b(b.view, staging, nullptr);
  DeviceBuffer<float> x_device(x.size()), bias_device(bias.size()), y_a(static_cast<std::size_t>(n * rows)),
      y_b(static_cast<std::size_t>(n * 4));
  x_device.write(x, nullptr);
  bias_device.write(bias, nullptr);
  WeightView view_a = a.view, view_b = b.view;
  view_a.uploaded = &on_a;
  view_b.uploaded = &on_b;

  cuda::Activations activations(nullptr);
  cuda::Products products(exact, activations, nullptr);
  const ConstMatrix in(x_device.data(), n, cols);
  const MatmulJob jobs[] = {{&view_a, bias_device.data(), in, Matrix(y_a.data(), n, rows)},
                            {&view_b, nullptr, in, Matrix(y_b.data(), n, 4)}};
  products.run(jobs);
  products.settle();

  // What activations (and tiles of weights) are rounded to: 8 bits, f16, bf16 or nothing.
  const bool plain = exact || type == DType::f32, quantised = unit > 1;
  const bool in_bytes = quantised && !exact && n <= 256;
  const double step = in_bytes ? 0.5 / 127 : n <= 4 || plain ? 0 : type == DType::bf16 ? 0x1p-9 : 2 * 0x1p-11;
  const auto compare = [&](const Weights& w, const std::vector<float>& y, const float* add) {
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t r = 0; r < w.view.rows; ++r) {
        const float* weights = w.values.data() + r * cols;
        const float* from = x.data() + t * cols;
        double expected = add != nullptr ? static_cast<double>(add[r]) : 0;
        for (std::int64_t c = 0; c < cols; ++c)
          expected += static_cast<double>(weights[c]) * static_cast<double>(from[c]);
        ASSERT_NEAR(y[static_cast<std::size_t>(t * w.view.rows + r)], expected,
                    tolerance(weights, from, cols, step))
            << "token " << t << ", row " << r;
      }
  };
  compare(a, read(y_a), bias.data());
  compare(b, read(y_b), nullptr);
}

TEST_P(EveryType, ProductOfOneToken) {
  check_products(GetParam().type, 1, false);
}
TEST_P(EveryType, ProductOfAFewTokens) {
  check_products(GetParam().type, 3, false);
}
// Warps go on from rows to rows, and take more than a step for each.
TEST_P(EveryType, ProductOverManyRows) {
  check_products(GetParam().type, 1, false, 75, 1280);
  check_products(GetParam().type, 4, false, 41, 256);
}
TEST_P(EveryType, ProductOfManyTokens) {
  check_products(GetParam().type, 6, false);
}
TEST_P(EveryType, ProductOfAPrompt) {
  check_products(GetParam().type, 260, false);
}

// On the tensor cores: the CPU's product of activations in 8 bits, but for the order of sums in f32.
void check_whole_numbers(DType type, std::int64_t rows, std::int64_t n) {
  const std::int64_t unit = dtype_info(type).block_values;
  const std::int64_t cols = unit == 32 ? 5 * 32 : 2 * unit;
  const Weights w(type, rows, cols, 11);
  const auto x = normal(static_cast<std::size_t>(n * cols), 12),
             bias = normal(static_cast<std::size_t>(rows), 13);
  DeviceBuffer<std::uint8_t> staging;
  const cuda::DeviceWeight on_device(w.view, staging, nullptr);
  DeviceBuffer<float> x_device(x.size()), bias_device(bias.size()), y(static_cast<std::size_t>(n * rows));
  x_device.write(x, nullptr);
  bias_device.write(bias, nullptr);
  DeviceBuffer<std::int8_t> codes(x.size());
  DeviceBuffer<cuda::GroupScale> scales(x.size() / 32);
  const cuda::QuantRows rounded{codes.data(), scales.data()};
  device::launch(cuda::quantise_kernel<0>, dim3(static_cast<unsigned>((x.size() + 255) / 256)), dim3(256), 0,
                 nullptr, x_device.data(), n, cols, cols, rounded);
  cuda::mma({&on_device, bias_device.data(), Matrix(y.data(), n, rows)}, n, rounded, nullptr);
  const auto got = read(y);
  const auto code = read(codes);
  const auto scale = read(scales);
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t r = 0; r < rows; ++r) {
      double sum = static_cast<double>(bias[static_cast<std::size_t>(r)]), size = std::abs(sum);
      for (std::int64_t c = 0; c < cols; ++c) {
        const auto at = static_cast<std::size_t>(t * cols + c);
        const double value = static_cast<double>(w.values[static_cast<std::size_t>(r * cols + c)]) *
                             static_cast<double>(scale[at / 32].scale) * code[at];
        sum += value;
        size += std::abs(value);
      }
      // With a minimum each group is a difference of two sums, each some times as large as what is left.
      ASSERT_NEAR(got[static_cast<std::size_t>(t * rows + r)], sum,
                  std::numeric_limits<float>::epsilon() * static_cast<double>(cols / 32 + 8) * size)
          << "token " << t << ", row " << r;
    }
}
TEST_P(EveryType, ExactProduct) {
  check_products(GetParam().type, 1, true);
  check_products(GetParam().type, 6, true);
}
// Rows and tokens of more than a tile, of the small ones and of the large ones.
TEST_P(EveryType, ProductInWholeNumbers) {
  if (GetParam().block_values == 1) GTEST_SKIP() << "not quantised";
  check_whole_numbers(GetParam().type, 70, 43);
  check_whole_numbers(GetParam().type, 133, 131);
}

// More experts than a launch takes, the last ones of another type, as old files may have it.
TEST_P(EveryType, ProductsWithTheExpertOfARow) {
  constexpr std::int64_t kRows = 6, kExperts = 35, kSlots = 8, kShare = 2;
  const std::int64_t unit = GetParam().block_values, cols = unit == 1 ? 37 : 2 * unit;
  std::deque<Weights> matrices;
  std::deque<cuda::DeviceWeight> on_device;
  std::vector<WeightView> experts;
  DeviceBuffer<std::uint8_t> staging;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    const DType type = e < 33 ? GetParam().type : DType::f32;
    matrices.emplace_back(type, kRows, cols, static_cast<std::uint64_t>(e));
    experts.push_back(matrices.back().view);
    experts.back().uploaded = &on_device.emplace_back(matrices.back().view, staging, nullptr);
  }
  const std::vector<Route> routes{{0, 1}, {34, 1}, {32, 1}, {31, 1}, {7, 1}, {7, 1}, {33, 1}, {12, 1}};
  const auto x = normal(static_cast<std::size_t>(kSlots / kShare * cols), 9);
  DeviceBuffer<Route> routes_device(routes.size());
  DeviceBuffer<float> x_device(x.size()), y(static_cast<std::size_t>(kSlots * kRows));
  routes_device.write(routes, nullptr);
  x_device.write(x, nullptr);
  cuda::expert_gemv(experts, routes_device.data(), ConstMatrix(x_device.data(), kSlots / kShare, cols),
                    kShare, Matrix(y.data(), kSlots, kRows), nullptr);
  const auto got = read(y);
  for (std::int64_t s = 0; s < kSlots; ++s)
    for (std::int64_t r = 0; r < kRows; ++r) {
      const auto expert = static_cast<std::size_t>(routes[static_cast<std::size_t>(s)].expert);
      const float* const weights = matrices[expert].values.data() + r * cols;
      const float* const from = x.data() + s / kShare * cols;
      double expected = 0;
      for (std::int64_t c = 0; c < cols; ++c)
        expected += static_cast<double>(weights[c]) * static_cast<double>(from[c]);
      ASSERT_NEAR(got[static_cast<std::size_t>(s * kRows + r)], expected, tolerance(weights, from, cols, 0))
          << "slot " << s << ", row " << r;
    }
}

INSTANTIATE_TEST_SUITE_P(Types, EveryType, testing::ValuesIn(all_dtypes().begin(), all_dtypes().end()),
                         [](const auto& type) { return std::string(type.param.name); });

}  // namespace
}  // namespace spectralkv::weights_test
