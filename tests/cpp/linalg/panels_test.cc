// Panels and 8-bit activations: every type on every instruction set against doubles and against plain code.
#include "linalg/panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "formats/formats.h"
#include "linalg/matmul.h"
#include "simd/dispatch.h"
#include "support/compare.h"
#include "support/random_rows.h"

namespace spectralkv {
namespace {

using testing_support::Comparison;
using testing_support::kEps;
using testing_support::kFormats;
using testing_support::normals;
using testing_support::random_rows;

// Activations [tokens, n] in 8 bits by one instruction set.
struct Quantized {
  std::vector<simd::ActivationGroup> groups;
  Quantized(const simd::Kernels& k, const std::vector<float>& x, std::int64_t tokens, std::int64_t n)
      : groups(x.size() / 32) {
    for (std::int64_t t = 0; t < tokens; ++t)
      k.quantize_activations(x.data() + t * n, n, groups.data() + t * n / 32);
  }
  double value(std::int64_t t, std::int64_t n, std::int64_t k) const {
    const auto i = static_cast<std::size_t>(t * n + k);
    return static_cast<double>(groups[i / 32].scale) * groups[i / 32].q[i % 32];
  }
};

std::vector<float> activations(std::int64_t n) {
  auto x = normals(7, static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= i / 32 % 5 == 4 ? 0.0f : i / 32 % 5 == 3 ? 1e-3f : 1.0f;
  x[5] = 300.0f;
  return x;
}

TEST(QuantizeActivations, IsWithinHalfAStepAndEqualEverywhere) {
  const auto x = activations(320);
  const Quantized plain(*simd::kernels_scalar(), x, 1, 320);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double step = static_cast<double>(plain.groups[i / 32].scale);
    // x * (127 / most): two roundings of at most 127.
    EXPECT_NEAR(plain.value(0, 320, static_cast<std::int64_t>(i)), static_cast<double>(x[i]),
                step * (0.5 + 127 * 3 * kEps));
  }
  for (const simd::ActivationGroup& group : plain.groups) {
    int sums[2] = {0, 0};
    for (std::size_t i = 0; i < 32; ++i) sums[i / 16] += group.q[i];
    for (std::size_t half = 0; half < 2; ++half)
      EXPECT_EQ(group.half_sums[half], group.scale * static_cast<float>(sums[half]));
    EXPECT_EQ(group.sum, group.scale * static_cast<float>(sums[0] + sums[1]));
  }
  for (const simd::Kernels* k : usable_kernels()) {
    const Quantized fast(*k, x, 1, 320);
    EXPECT_EQ(std::memcmp(fast.groups.data(), plain.groups.data(), 10 * sizeof(simd::ActivationGroup)), 0)
        << k->name;
  }
}

TEST(Panels, ProductsAgainstDoublesAndPlainCode) {
  ThreadPool pool(2);
  auto sets = usable_kernels();
  std::reverse(sets.begin(), sets.end());
  for (int type = 0; type < simd::kTypes; ++type) {
    const auto dtype = static_cast<DType>(type);
    if (!Panels::possible(dtype)) continue;
    const auto& format = kFormats[type];
    const auto& [form, has_fine, unpack] = kUnpack[type];
    const std::int64_t step = !has_fine ? 0 : form.has_minimum ? 2 : 1;  // whole numbers of a group
    for (const std::int64_t blocks : {1, 3}) {
      const std::int64_t n = format.values * blocks, rows = 35, groups = n / form.group;
      const auto bytes = random_rows(format, rows, n, 5);
      WeightView w;
      w.type = dtype;
      w.data = reinterpret_cast<const std::byte*>(bytes.data());
      w.rows = rows;
      w.cols = n;
      for (const std::int64_t tokens : {1, 2, 3, 5, 8, 13}) {
        const auto x = activations(tokens * n);
        const Quantized quantized(*simd::kernels_scalar(), x, tokens, n);
        std::vector<float> plain;  // scalar is first
        for (const simd::Kernels* k : sets) {
          const Panels panels(w, pool, *k);
          ASSERT_EQ(panels.count(), 3);
          const std::int64_t ldy = rows + 1;
          std::vector<float> y(static_cast<std::size_t>(tokens * ldy), 1e30f);
          for (std::int64_t i = 0; i < panels.count(); ++i)
            k->panel_matmul[type](panels.panel(i), n, panels.offset(), quantized.groups.data(), tokens,
                                  std::min<std::int64_t>(16, rows - 16 * i), y.data() + 16 * i, ldy);
          for (std::int64_t t = 0; t < tokens; ++t)
            EXPECT_EQ(y[static_cast<std::size_t>(t * ldy + rows)], 1e30f);
          if (plain.empty()) plain = y;
          EXPECT_EQ(std::memcmp(plain.data(), y.data(), y.size() * 4), 0) << format.name << ' ' << k->name;
        }
        Comparison compare(format.name);
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(n));
        std::vector<float> scale(static_cast<std::size_t>(blocks)), minimum(scale.size());
        std::vector<std::int8_t> fine(static_cast<std::size_t>(groups * step));
        std::vector<float> exact(codes.size());
        for (std::int64_t r = 0; r < rows; ++r) {
          kDecode[type](w.row(r), exact.data(), n);
          unpack(w.row(r), n, codes.data(), scale.data(), minimum.data(), fine.data());
          const auto size_of = [&](const std::vector<float>& of, std::int64_t c, std::int64_t which) {
            const double coarse = static_cast<double>(of[static_cast<std::size_t>(c / format.values)]);
            const auto at = static_cast<std::size_t>(c / form.group * step + which);
            return std::fabs(has_fine ? coarse * fine[at] : coarse);
          };
          for (std::int64_t t = 0; t < tokens; ++t) {
            double sum = 0, size = 0;
            for (std::int64_t c = 0; c < n; ++c) {
              const auto at = static_cast<std::size_t>(c);
              const double value = quantized.value(t, n, c), s = size_of(scale, c, 0);
              sum += static_cast<double>(exact[at]) * value;
              const int code = form.has_levels ? form.levels[codes[at]] + form.offset : codes[at];
              size += std::fabs(value) *
                      (s * code + (form.has_minimum ? size_of(minimum, c, 1) : s * form.offset));
            }
            // Scales and minimums lose nothing; two fused additions a group besides their products.
            compare.add(plain[static_cast<std::size_t>(t * (rows + 1) + r)], sum,
                        1e-37 + (2.0 * static_cast<double>(groups) + 4) * kEps * size);
          }
        }
      }
    }
  }
}

// The largest and the smallest codes and levels that there are, with the largest activations: sums in 16 bits
// are full.
TEST(Panels, TheLargestSums) {
  constexpr std::int64_t n = 512, tokens = 5;
  for (int type = 0; type < simd::kTypes; ++type) {
    const auto& [form, has_fine, unpack] = kUnpack[type];
    if (unpack == nullptr) continue;
    const simd::PanelForm panel{form.bits, form.group, form.has_minimum, form.has_levels, has_fine};
    const auto [lowest, highest] = std::minmax_element(form.levels, form.levels + 16);
    for (const bool top : {true, false}) {
      std::vector<std::uint8_t> bytes(static_cast<std::size_t>(panel.bytes(n)), top ? 0xff : 0);
      const auto put = [&](std::int64_t at, const auto& value, std::int64_t times) {
        for (std::int64_t i = 0; i < times; ++i)
          std::memcpy(bytes.data() + at + i * static_cast<std::int64_t>(sizeof value), &value, sizeof value);
      };
      put(0, 1.0f, 16);
      int code = top ? (1 << form.bits) - 1 : 0;
      if (form.has_levels) {
        code = form.offset + (top ? *highest : *lowest);
        put(64, static_cast<std::uint8_t>(code), 64);
      }
      const int halves = form.has_minimum ? 32 : 16;
      for (std::int64_t at = panel.header_bytes(); at < panel.bytes(n);) {
        put(at, std::uint16_t{0x3c00}, halves);  // 1
        put(at + 2 * halves, std::uint8_t{1}, panel.scale_bytes() - 2 * halves);
        at += panel.scale_bytes() + panel.block_columns() / form.group * panel.group_bytes();
      }
      for (const int q : {127, -127}) {
        simd::ActivationGroup full{};
        std::fill(full.q, full.q + 32, static_cast<std::int8_t>(q));
        full.scale = 1;
        full.sum = static_cast<float>(32 * q);
        full.half_sums[0] = full.half_sums[1] = full.sum / 2;
        const std::vector<simd::ActivationGroup> x(static_cast<std::size_t>(tokens * n / 32), full);
        const float expected = static_cast<float>(n * q * (code + (form.has_minimum ? 1 : -form.offset)));
        for (const simd::Kernels* k : usable_kernels()) {
          std::vector<float> y(16 * tokens);
          k->panel_matmul[type](bytes.data(), n, form.offset, x.data(), tokens, 16, y.data(), 16);
          EXPECT_EQ(y, std::vector<float>(y.size(), expected)) << kFormats[type].name << ' ' << k->name;
        }
      }
    }
  }
}

TEST(Matmul, PanelsGiveTheSameForAnyThreadsAndTokens) {
  const auto& format = kFormats[static_cast<int>(DType::q4_1)];
  const std::int64_t rows = 200, n = 96, tokens = 37;
  const auto bytes = random_rows(format, rows, n, 5);
  const auto x = activations(tokens * n), bias = normals(9, static_cast<std::size_t>(rows));
  std::vector<float> first;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    WeightView w;
    w.type = DType::q4_1;
    w.data = reinterpret_cast<const std::byte*>(bytes.data());
    w.rows = rows;
    w.cols = n;
    const Panels panels(w, pool);
    w.uploaded = &panels;
    Matmul matmul(pool);
    for (const std::int64_t batch : {tokens, std::int64_t{1}, std::int64_t{5}}) {
      std::vector<float> y(static_cast<std::size_t>(tokens * rows));
      for (std::int64_t t = 0; t < tokens; t += batch) {
        const std::int64_t count = std::min(batch, tokens - t);
        const MatmulJob job{&w, bias.data(), ConstMatrix(x.data() + t * n, count, n),
                            Matrix(y.data() + t * rows, count, rows)};
        matmul.run({&job, 1});
      }
      if (first.empty()) first = y;
      EXPECT_EQ(y, first) << threads << " threads, batches of " << batch;
    }
  }
}

}  // namespace
}  // namespace spectralkv
