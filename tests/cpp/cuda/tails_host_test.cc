// Products whose launch makes of them what comes next: bit for bit what a launch of its own makes, in every
// order of thread blocks, which only the host executor can be told.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <tuple>
#include <vector>

#include "cuda/backend/products.h"
#include "cuda/ops/elementwise.cuh"
#include "formats/encode.h"
#include "support/compare.h"
#include "tests/cuda/host/views.h"

namespace spectralkv::tails_test {
namespace {

using cuda::QuantRows;
using device::DeviceBuffer;
using testing_support::normals;

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// n rows on the device, and memory for them in 8 bits.
struct Rows {
  Rows(std::uint64_t seed, std::int64_t n, std::int64_t width)
      : rows(n),
        cols(width),
        values(size_of(n * width)),
        codes(values.size()),
        scales(values.size() / 32 + 1) {
    values.write(normals(seed, values.size()), nullptr);
    device::fill_bytes(codes.data(), 0, codes.bytes(), nullptr);
    device::fill_bytes(scales.data(), 0, scales.bytes(), nullptr);
  }
  Matrix all() const { return {values.data(), rows, cols}; }
  QuantRows rounded(bool wanted) const {
    return wanted ? QuantRows{codes.data(), scales.data()} : QuantRows{};
  }
  // Everything, as bytes.
  std::vector<std::byte> read() const {
    std::vector<std::byte> bytes(values.bytes() + codes.bytes() + scales.bytes());
    device::copy_to_host(bytes.data(), values.data(), values.bytes(), nullptr);
    device::copy_to_host(bytes.data() + values.bytes(), codes.data(), codes.bytes(), nullptr);
    device::copy_to_host(bytes.data() + values.bytes() + codes.bytes(), scales.data(), scales.bytes(),
                         nullptr);
    device::synchronize(nullptr);
    return bytes;
  }
  std::int64_t rows, cols;
  DeviceBuffer<float> values;
  DeviceBuffer<std::int8_t> codes;
  DeviceBuffer<cuda::GroupScale> scales;
};

struct OnDevice {
  OnDevice(DType type, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
    view.type = type;
    view.rows = rows;
    view.cols = cols;
    view.name = "w";
    bytes.resize(size_of(view.bytes()));
    const auto values = normals(seed, size_of(rows * cols));
    const std::vector<float> weights(size_of(cols), 1.0f);
    for (std::int64_t r = 0; r < rows; ++r)
      kEncode[size_of(static_cast<std::int64_t>(type))](values.data() + r * cols, weights.data(),
                                                        bytes.data() + r * view.row_bytes(), cols);
    view.data = bytes.data();
    held = std::make_unique<cuda::DeviceWeight>(view, staging, nullptr);
    view.uploaded = held.get();
  }
  std::vector<std::byte> bytes;
  WeightView view;
  DeviceBuffer<std::uint8_t> staging;
  std::unique_ptr<cuda::DeviceWeight> held;
};

constexpr host::BlockOrder kOrders[] = {host::BlockOrder::rising, host::BlockOrder::falling,
                                        host::BlockOrder::shuffled};

// Of a type of weights and n tokens.
class CudaTail : public testing::TestWithParam<std::tuple<DType, std::int64_t>> {};

TEST_P(CudaTail, NormIsThatOfALaunchOfItsOwn) {
  const auto [type, n] = GetParam();
  constexpr std::int64_t kCols = 32;
  for (const std::int64_t width : {576, 1056, 32, 100}) {  // more and less than a turn of threads
    const OnDevice w(type, width, kCols, 1);
    const Rows x(2, n, kCols), gain(3, 1, width);
    cuda::Activations activations(nullptr);
    cuda::Products products(false, activations, nullptr);
    const MatmulJob job[] = {{&w.view, nullptr, x.all(), {}}};
    const bool rounds = width % 32 == 0;
    // Two norms, one behind the other, as two layers have them: the residual grows.
    const auto run = [&](bool behind) {
      const Rows residual(4, n, width), y(5, n, width);
      std::int64_t launches = 0;
      for (int turn = 0; turn < 2; ++turn) {
        MatmulJob to_y = job[0];
        to_y.y = y.all();
        products.run({&to_y, 1});
        const cuda::NormArgs args{residual.values.data(),
                                  y.values.data(),
                                  gain.values.data(),
                                  y.values.data(),
                                  width,
                                  width,
                                  width,
                                  width,
                                  1e-5f,
                                  y.rounded(rounds)};
        EXPECT_EQ(products.can_norm(residual.all(), y.all(), y.all()), n == 1);
        EXPECT_FALSE(products.can_norm(residual.all(), residual.all(), y.all()));
        const std::int64_t before = device::calls().launches;
        if (behind) {
          products.settle_with_norm(args);
        } else {
          products.settle();
          device::launch(cuda::rms_norm_kernel<0>, dim3(static_cast<unsigned>(n)), dim3(cuda::kNormThreads),
                         0, nullptr, args);
        }
        launches += device::calls().launches - before;
      }
      EXPECT_EQ(launches, behind ? 2 : 4);
      auto bytes = residual.read();
      const auto more = y.read();
      bytes.insert(bytes.end(), more.begin(), more.end());
      return bytes;
    };
    const auto expected = run(false);
    if (n > 1) continue;  // several rows are not normed behind a product
    EXPECT_EQ(run(true), expected) << width;
    for (const host::BlockOrder order : kOrders) {
      const host::BlockViews views(order);
      EXPECT_EQ(run(true), expected) << width;
    }
  }
}

TEST_P(CudaTail, SwigluIsThatOfALaunchOfItsOwn) {
  const auto [type, n] = GetParam();
  constexpr std::int64_t kCols = 96;
  for (const std::int64_t width : {32, 96, 352}) {  // blocks with one turn and with several
    const OnDevice gate(type, width, kCols, 1), up(type, width, kCols, 2);
    const Rows x(3, n, kCols), bias(4, 1, width);
    cuda::Activations activations(nullptr);
    cuda::Products products(false, activations, nullptr);
    const auto run = [&](bool paired) {
      const Rows g(5, n, width), u(6, n, width);
      const MatmulJob jobs[] = {{&gate.view, bias.values.data(), x.all(), g.all()},
                                {&up.view, nullptr, x.all(), u.all()}};
      products.run(jobs);
      EXPECT_TRUE(products.can_pair(g.all(), u.all()));
      EXPECT_FALSE(products.can_pair(u.all(), g.all()));
      if (paired) {
        products.settle_with_pairs(g.rounded(true));
      } else {
        products.settle();
        device::launch(cuda::silu_mul_kernel<0>, dim3(static_cast<unsigned>(n * width + 255) / 256),
                       dim3(256), 0, nullptr, g.values.data(), u.values.data(), n * width, g.rounded(true));
      }
      auto bytes = g.read();
      const auto more = u.read();
      bytes.insert(bytes.end(), more.begin(), more.end());
      return bytes;
    };
    const auto expected = run(false);
    EXPECT_EQ(run(true), expected) << width;
    for (const host::BlockOrder order : kOrders) {
      const host::BlockViews views(order);
      EXPECT_EQ(run(true), expected) << width;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CudaTail,
                         testing::Combine(testing::Values(DType::q8_0, DType::q4_0, DType::f32),
                                          testing::Values(1, 2, 4)),
                         [](const auto& one) {
                           return std::string(dtype_info(std::get<0>(one.param)).name) + "_" +
                                  std::to_string(std::get<1>(one.param));
                         });

// Rows that do not fill whole groups of 32, and what others ask for, are left to launches of their own.
TEST(CudaTails, AreOnlyOfWhatFits) {
  const OnDevice gate(DType::f32, 40, 64, 1), up(DType::f32, 40, 64, 2);
  const Rows x(3, 1, 64), g(5, 1, 40), u(6, 1, 40);
  cuda::Activations activations(nullptr);
  cuda::Products products(false, activations, nullptr);
  EXPECT_FALSE(products.can_norm(u.all(), g.all(), g.all())) << "nothing waits";
  const MatmulJob jobs[] = {{&gate.view, nullptr, x.all(), g.all()}, {&up.view, nullptr, x.all(), u.all()}};
  products.run(jobs);
  EXPECT_FALSE(products.can_pair(g.all(), u.all()));
  products.settle();
  EXPECT_FALSE(products.can_norm(g.all(), u.all(), u.all())) << "it was launched";
}

}  // namespace
}  // namespace spectralkv::tails_test
