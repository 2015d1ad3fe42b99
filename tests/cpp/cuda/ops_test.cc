// Elementwise kernels, rounding to 8 bits and the search of the best logits against the CPU.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/half.h"
#include "base/random.h"
#include "cuda/backend/best.h"
#include "cuda/ops/elementwise.cuh"
#include "engine/best_k.h"
#include "simd/dispatch.h"

namespace spectralkv::ops_test {
namespace {

using device::DeviceBuffer;
using device::launch;

std::vector<float> normal(std::size_t n, std::uint64_t seed) {
  std::vector<float> x(n);
  for (std::size_t i = 0; i < n; ++i) x[i] = static_cast<float>(random_normal(seed, i));
  return x;
}

template <class T>
DeviceBuffer<T> to_device(const std::vector<T>& values) {
  DeviceBuffer<T> buffer(values.size());
  buffer.write(values, nullptr);
  return buffer;
}

template <class T>
std::vector<T> read(const DeviceBuffer<T>& from) {
  std::vector<T> values(from.size());
  from.read(values, nullptr);
  device::synchronize(nullptr);
  return values;
}

void expect_near(const std::vector<float>& got, const std::vector<float>& expected, float relative) {
  ASSERT_EQ(got.size(), expected.size());
  for (std::size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], expected[i], relative * (1e-3f + std::abs(expected[i]))) << "value " << i;
}

// The 8-bit form holds each value to half a step of its 32, and the sums of its codes.
void expect_quantised(const DeviceBuffer<std::int8_t>& codes, const DeviceBuffer<cuda::GroupScale>& scales,
                      const std::vector<float>& x) {
  const auto c = read(codes);
  const auto s = read(scales);
  ASSERT_GE(c.size(), x.size());
  for (std::size_t g = 0; g < x.size() / 32; ++g) {
    float most = 0;
    int sums[2] = {};
    for (std::size_t i = 0; i < 32; ++i) {
      const std::size_t at = 32 * g + i;
      most = std::max(most, std::abs(x[at]));
      sums[i / 16] += c[at];
      EXPECT_NEAR(static_cast<float>(c[at]) * s[g].scale, x[at], 0.501f * s[g].scale + 1e-9f);
    }
    EXPECT_NEAR(s[g].scale, most / 127, 1e-6f * most);
    EXPECT_EQ(static_cast<std::int16_t>(s[g].sums & 0xffffu), sums[0]);
    EXPECT_EQ(static_cast<std::int16_t>(s[g].sums >> 16), sums[1]);
  }
}

TEST(CudaOps, RoundsTo8Bits) {
  auto x = normal(3 * 64, 1);
  std::fill(x.begin() + 32, x.begin() + 64, 0.0f);  // a group of zeros
  const auto in = to_device(x);
  DeviceBuffer<std::int8_t> codes(x.size());
  DeviceBuffer<cuda::GroupScale> scales(x.size() / 32);
  launch(cuda::quantise_kernel<0>, dim3(1), dim3(256), 0, nullptr, in.data(), std::int64_t{3},
         std::int64_t{64}, std::int64_t{64}, cuda::QuantRows{codes.data(), scales.data()});
  expect_quantised(codes, scales, x);
}

void check_norm(std::int64_t cols, unsigned threads, bool add, bool quantise) {
  constexpr std::int64_t n = 2;
  auto x = normal(static_cast<std::size_t>(n * cols), 2);
  const auto y = normal(x.size(), 3), gain = normal(static_cast<std::size_t>(cols), 4);
  const auto x_device = to_device(x), y_device = to_device(y), gain_device = to_device(gain);
  DeviceBuffer<std::int8_t> codes(x.size());
  DeviceBuffer<cuda::GroupScale> scales(x.size() / 32);
  const cuda::QuantRows quantised =
      quantise ? cuda::QuantRows{codes.data(), scales.data()} : cuda::QuantRows{};
  const cuda::NormArgs args{x_device.data(),
                            add ? y_device.data() : nullptr,
                            gain_device.data(),
                            y_device.data(),
                            cols,
                            cols,
                            cols,
                            cols,
                            1e-5f,
                            quantised};
  launch(cuda::rms_norm_kernel<0>, dim3(n), dim3(threads), 0, nullptr, args);
  std::vector<float> expected(x.size());
  for (std::int64_t t = 0; t < n; ++t) {
    if (add) kernels().add(x.data() + t * cols, y.data() + t * cols, cols);
    kernels().rms_norm(x.data() + t * cols, gain.data(), 1e-5f, cols, expected.data() + t * cols);
  }
  EXPECT_EQ(read(x_device), x);
  const auto got = read(y_device);
  expect_near(got, expected, 1e-5f);
  if (quantise) expect_quantised(codes, scales, got);
}

TEST(CudaOps, NormsAndAdds) {
  check_norm(576, 256, true, true);
  check_norm(576, 1024, true, true);
  check_norm(1344, 1024, false, true);
  check_norm(50, 256, true, false);
  check_norm(2000, 256, false, false);
}

TEST(CudaOps, Rope) {
  constexpr std::int64_t n = 3, head_dim = 64, dims = 48, q_heads = 3, k_heads = 1;
  auto q = normal(n * q_heads * head_dim, 5), k = normal(n * k_heads * head_dim, 6);
  const auto angles = normal(n * dims, 7);
  const auto q_device = to_device(q), k_device = to_device(k), angles_device = to_device(angles);
  const cuda::RopeArgs args{
      q_device.data(),    k_device.data(),     n, q_heads, k_heads, head_dim, dims, q_heads * head_dim,
      k_heads * head_dim, angles_device.data()};
  launch(cuda::rope_kernel<0>, dim3(2), dim3(256), 0, nullptr, args);
  for (std::int64_t t = 0; t < n; ++t) {
    for (std::int64_t h = 0; h < q_heads; ++h)
      kernels().rope(q.data() + (t * q_heads + h) * head_dim, angles.data() + t * dims, dims);
    kernels().rope(k.data() + t * head_dim, angles.data() + t * dims, dims);
  }
  expect_near(read(q_device), q, 1e-5f);
  expect_near(read(k_device), k, 1e-5f);
}

TEST(CudaOps, SiluMul) {
  auto gate = normal(2 * 96, 8);
  gate[3] = -200;  // exp overflows
  gate[4] = 200;
  const auto up = normal(gate.size(), 9);
  const auto gate_device = to_device(gate), up_device = to_device(up);
  DeviceBuffer<std::int8_t> codes(gate.size());
  DeviceBuffer<cuda::GroupScale> scales(gate.size() / 32);
  launch(cuda::silu_mul_kernel<0>, dim3(1), dim3(256), 0, nullptr, gate_device.data(), up_device.data(),
         static_cast<std::int64_t>(gate.size()), cuda::QuantRows{codes.data(), scales.data()});
  kernels().silu_mul(gate.data(), up.data(), static_cast<std::int64_t>(gate.size()));
  const auto got = read(gate_device);
  expect_near(got, gate, 1e-5f);
  expect_quantised(codes, scales, got);
}

TEST(CudaOps, NarrowsWithinF16) {
  const std::vector<float> x{1.0f, -70000.0f, 1e30f, 0.1f, std::numeric_limits<float>::quiet_NaN(), 65504.0f};
  const auto in = to_device(x);
  DeviceBuffer<std::uint16_t> out(x.size());
  launch(cuda::narrow_kernel<cuda::Narrow::f16, false>, dim3(1), dim3(32), 0, nullptr, in.data(),
         std::int64_t{2}, std::int64_t{3}, std::int64_t{3}, out.data());
  const auto got = read(out);
  for (const std::size_t i : {0u, 3u, 5u}) EXPECT_EQ(got[i], skv_f32_to_f16(x[i]));
  EXPECT_EQ(skv_f16_to_f32(got[1]), -65504.0f);
  EXPECT_EQ(skv_f16_to_f32(got[2]), 65504.0f);
  EXPECT_TRUE(std::isnan(skv_f16_to_f32(got[4])));
}

TEST(CudaOps, NarrowsEightAtATime) {
  const auto x = normal(3 * 28, 10);  // rows of 24 values, 28 apart
  const auto in = to_device(x);
  for (const bool f16 : {true, false}) {
    DeviceBuffer<std::uint16_t> out(3 * 24);
    launch(f16 ? cuda::narrow_kernel<cuda::Narrow::f16, true> : cuda::narrow_kernel<cuda::Narrow::bf16, true>,
           dim3(1), dim3(32), 0, nullptr, in.data(), std::int64_t{3}, std::int64_t{24}, std::int64_t{28},
           out.data());
    const auto got = read(out);
    for (std::size_t i = 0; i < got.size(); ++i) {
      const float value = x[i / 24 * 28 + i % 24];
      ASSERT_EQ(got[i], f16 ? skv_f32_to_f16(value) : device::f32_to_bf16(value)) << i;
    }
  }
}

TEST(CudaOps, Scales) {
  auto x = normal(3 * 50, 15);
  const auto factors = normal(3, 16);
  const auto in = to_device(x), by_row = to_device(factors);
  for (const float* rows : {static_cast<const float*>(nullptr), static_cast<const float*>(by_row.data())})
    launch(cuda::scale_kernel<0>, dim3(1), dim3(256), 0, nullptr, in.data(), std::int64_t{3},
           std::int64_t{50}, std::int64_t{50}, 0.5f, rows);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= 0.25f * factors[i / 50];
  expect_near(read(in), x, 1e-6f);
}

void check_best(std::vector<float> values, std::size_t k) {
  const auto in = to_device(values);
  cuda::Best best;
  std::vector<Candidate> got(k), expected;
  ASSERT_TRUE(best.find(in.data(), static_cast<std::int64_t>(values.size()), got, nullptr));
  best_k(values, k, expected);
  EXPECT_EQ(got, expected);
}

TEST(CudaOps, FindsTheBest) {
  check_best(normal(5000, 10), 1);
  check_best(normal(5000, 11), 40);
  check_best(normal(20, 12), 20);
  auto ties = normal(4200, 13);
  for (std::size_t i = 0; i < ties.size(); i += 3) ties[i] = i % 2 == 0 ? 0.0f : -0.0f;
  for (float& value : ties) value = std::min(value, 0.0f);
  check_best(ties, 256);
}

TEST(CudaOps, WhatItCannotRankIsLeftToTheHost) {
  auto values = normal(3000, 14);
  cuda::Best best;
  std::vector<Candidate> out(1);
  values[2100] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(best.find(to_device(values).data(), 3000, out, nullptr));
  values[2100] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(best.find(to_device(values).data(), 3000, out, nullptr));
  out.resize(300);
  values[2100] = 0;
  EXPECT_FALSE(best.find(to_device(values).data(), 3000, out, nullptr));
}

}  // namespace
}  // namespace spectralkv::ops_test
