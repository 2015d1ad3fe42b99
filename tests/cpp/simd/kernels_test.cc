// Every kernel of every instruction set that this machine runs, against plain double arithmetic, with tails
// and odd sizes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "base/error.h"
#include "base/half.h"
#include "base/random.h"
#include "formats/bitpack.h"
#include "formats/formats.h"
#include "simd/dispatch.h"
#include "support/compare.h"
#include "support/random_rows.h"
#include "tensor/dtype.h"

namespace spectralkv {
namespace {

using testing_support::Comparison;
using testing_support::Format;
using testing_support::kEps;
using testing_support::kFormats;
using testing_support::normals;
using testing_support::random_rows;

std::string concat_name(const char* name, std::int64_t a, std::int64_t b, std::int64_t c) {
  return concat(name, " n=", a, " rows=", b, " tokens=", c);
}

class EveryKernel : public testing::TestWithParam<const simd::Kernels*> {};

TEST_P(EveryKernel, DecodeEqualsTheDefinitionToTheBit) {
  const simd::Kernels& k = *GetParam();
  for (int type = 0; type < simd::kTypes; ++type) {
    const Format& format = kFormats[type];
    const std::int64_t n = format.values * 7;
    const auto row = random_rows(format, 1, n, 11);
    std::vector<float> fast(static_cast<std::size_t>(n)), slow(fast.size());
    k.decode[type](row.data(), fast.data(), n);
    kDecode[type](row.data(), slow.data(), n);
    EXPECT_EQ(std::memcmp(fast.data(), slow.data(), fast.size() * 4), 0) << format.name;
  }
}

TEST_P(EveryKernel, MatmulAgainstDoubles) {
  const simd::Kernels& k = *GetParam();
  for (int type = 0; type < simd::kTypes; ++type) {
    const Format& format = kFormats[type];
    for (const std::int64_t wish : {1, 15, 33, 80, 256, 576}) {
      const std::int64_t n = (wish + format.values - 1) / format.values * format.values;
      for (const std::int64_t rows : {1, 3, 4, 9})
        for (const std::int64_t tokens : {1, 2, 5, 7, 100}) {
          if (tokens == 100 && n > 300) continue;
          const auto w = random_rows(format, rows, n, 5);
          const std::int64_t row_bytes = n / format.values * format.bytes, ldx = n + 3, ldy = rows + 2;
          const auto x = normals(7, static_cast<std::size_t>(tokens * ldx));
          std::vector<float> y(static_cast<std::size_t>(tokens * ldy), 1e30f),
              row(static_cast<std::size_t>(n));
          std::vector<float> work(static_cast<std::size_t>(simd::matmul_work(n)));
          k.matmul[type](w.data(), row_bytes, rows, n, x.data(), ldx, tokens, y.data(), ldy, work.data());
          Comparison compare(concat_name(format.name, n, rows, tokens));
          for (std::int64_t r = 0; r < rows; ++r) {
            kDecode[type](w.data() + r * row_bytes, row.data(), n);
            for (std::int64_t t = 0; t < tokens; ++t) {
              double sum = 0, size = 0;
              for (std::int64_t i = 0; i < n; ++i) {
                const double term = static_cast<double>(row[static_cast<std::size_t>(i)]) *
                                    static_cast<double>(x[static_cast<std::size_t>(t * ldx + i)]);
                sum += term;
                size += std::fabs(term);
              }
              // 16 chains of n / 16 terms, then 4 levels: far fewer roundings than n + 2, which bounds any
              // order.
              compare.add(y[static_cast<std::size_t>(t * ldy + r)], sum,
                          static_cast<double>(n + 2) * kEps * size);
            }
          }
          for (std::int64_t t = 0; t < tokens; ++t)
            for (std::int64_t r = rows; r < ldy; ++r)
              EXPECT_EQ(y[static_cast<std::size_t>(t * ldy + r)], 1e30f);
        }
    }
  }
}

TEST_P(EveryKernel, MatmulGivesTheSameBitsForAnyBatch) {
  const simd::Kernels& k = *GetParam();
  for (int type = 0; type < simd::kTypes; ++type) {
    const Format& format = kFormats[type];
    const std::int64_t n = format.values == 256 ? 256 : 96, rows = 11, tokens = 103;
    const auto w = random_rows(format, rows, n, 5);
    const std::int64_t row_bytes = n / format.values * format.bytes;
    const auto x = normals(7, static_cast<std::size_t>(tokens * n));
    std::vector<float> all(static_cast<std::size_t>(tokens * rows)), one(static_cast<std::size_t>(rows));
    std::vector<float> work(static_cast<std::size_t>(simd::matmul_work(n)));
    k.matmul[type](w.data(), row_bytes, rows, n, x.data(), n, tokens, all.data(), rows, work.data());
    for (std::int64_t t = 0; t < tokens; ++t) {
      k.matmul[type](w.data(), row_bytes, 4, n, x.data() + t * n, n, 1, one.data(), rows, work.data());
      k.matmul[type](w.data() + 4 * row_bytes, row_bytes, rows - 4, n, x.data() + t * n, n, 1, one.data() + 4,
                     rows, work.data());
      EXPECT_EQ(std::memcmp(one.data(), all.data() + t * rows, one.size() * 4), 0)
          << format.name << " token " << t;
    }
  }
}

TEST_P(EveryKernel, Mix) {
  const simd::Kernels& k = *GetParam();
  for (const std::int64_t d : {8, 64, 72, 80, 112, 128, 256})
    for (const std::int64_t n : {1, 5, 128})
      for (const std::int64_t tokens : {1, 3}) {
        const auto p = normals(1, static_cast<std::size_t>(tokens * (n + 1)));
        const auto v = normals(2, static_cast<std::size_t>(n * d));
        std::vector<std::uint16_t> half(v.size());
        k.to_f16(v.data(), half.data(), static_cast<std::int64_t>(v.size()));
        for (const bool f16 : {false, true}) {
          auto acc = normals(3, static_cast<std::size_t>(tokens * d));
          const auto before = acc;
          if (f16)
            k.mix_f16(p.data(), n + 1, tokens, half.data(), d, n, d, acc.data(), d);
          else
            k.mix_f32(p.data(), n + 1, tokens, v.data(), d, n, d, acc.data(), d);
          Comparison compare(concat_name(f16 ? "mix_f16" : "mix_f32", d, n, tokens));
          for (std::int64_t m = 0; m < tokens; ++m)
            for (std::int64_t c = 0; c < d; ++c) {
              const auto at = static_cast<std::size_t>(m * d + c);
              double sum = before[at], size = std::fabs(sum);
              for (std::int64_t j = 0; j < n; ++j) {
                const auto e = static_cast<std::size_t>(j * d + c);
                const double term = static_cast<double>(p[static_cast<std::size_t>(m * (n + 1) + j)]) *
                                    static_cast<double>(f16 ? skv_f16_to_f32(half[e]) : v[e]);
                sum += term;
                size += std::fabs(term);
              }
              compare.add(acc[at], sum, static_cast<double>(n + 2) * kEps * size);
            }
        }
      }
}

TEST_P(EveryKernel, MixOfGroupsIsTheMixOfDecodedRows) {
  const simd::Kernels& k = *GetParam();
  for (const bool q8 : {true, false}) {
    const Format& format = *std::find_if(std::begin(kFormats), std::end(kFormats), [&](const Format& f) {
      return std::string_view(f.name) == (q8 ? "q8_0" : "q4_0");
    });
    const auto type = static_cast<std::size_t>(q8 ? DType::q8_0 : DType::q4_0);
    for (const std::int64_t d : {32, 64, 96, 128, 256})
      for (const std::int64_t n : {1, 5, 128})
        for (const std::int64_t tokens : {1, 2, 3, 4, 7}) {
          const auto rows = random_rows(format, n, d, 4);
          const std::int64_t row_bytes = d / format.values * format.bytes;
          std::vector<float> decoded(static_cast<std::size_t>(n * d));
          for (std::int64_t j = 0; j < n; ++j)
            k.decode[type](rows.data() + j * row_bytes, decoded.data() + j * d, d);
          const auto p = normals(1, static_cast<std::size_t>(tokens * (n + 1)));
          auto expected = normals(3, static_cast<std::size_t>(tokens * (d + 8)));
          auto acc = expected;
          k.mix_f32(p.data(), n + 1, tokens, decoded.data(), d, n, d, expected.data(), d + 8);
          (q8 ? k.mix_q8_0 : k.mix_q4_0)(p.data(), n + 1, tokens, rows.data(), row_bytes, n, d, acc.data(),
                                         d + 8);
          EXPECT_EQ(std::memcmp(acc.data(), expected.data(), acc.size() * 4), 0)
              << format.name << " d=" << d << " n=" << n << " tokens=" << tokens;
        }
  }
}

// Rows of codes of every kind: decoded exactly, and products as of the decoded rows, in doubles.
TEST_P(EveryKernel, RowsOfCodes) {
  const simd::Kernels& k = *GetParam();
  const auto levels = normals(31, 256);
  for (int kind = 0; kind < simd::kCodeKinds; ++kind) {
    constexpr int kWhole[] = {8, 10, 12, 16};
    const bool whole = kind >= simd::kWhole8;
    const int bits = whole ? kWhole[kind - simd::kWhole8] : kind + 1;
    for (const std::int64_t d : {16, 48, 80, 128, 272})
      for (const std::int64_t n : {1, 2, 3, 5, 9})
        for (const std::int64_t m : {1, 3, 5, 13}) {
          const auto size = static_cast<std::size_t>(n * d);
          const std::size_t row_bytes = skv_packed_bytes(static_cast<int>(d), bits);
          std::vector<std::uint16_t> codes(size);
          std::vector<std::uint8_t> packed(static_cast<std::size_t>(n) * row_bytes);
          packed.shrink_to_fit();  // so that the sanitizer sees a read behind the end
          std::vector<float> rows(size);
          for (std::size_t i = 0; i < size; ++i) {
            codes[i] =
                static_cast<std::uint16_t>(random_bits(static_cast<std::uint64_t>(kind), i) >> (64 - bits));
            if (i % static_cast<std::size_t>(d) < 2)  // both ends of the range
              codes[i] = static_cast<std::uint16_t>(i % 2 == 0 ? 0 : (1 << bits) - 1);
            rows[i] = whole ? static_cast<float>(codes[i] - (1 << (bits - 1))) : levels[codes[i]];
          }
          for (std::int64_t r = 0; r < n; ++r) {
            std::uint8_t* const row = packed.data() + static_cast<std::size_t>(r) * row_bytes;
            skv_pack_codes(codes.data() + r * d, static_cast<int>(d), bits, row);
            std::vector<float> out(static_cast<std::size_t>(d) + 1, 7.0f);
            k.decode_codes[kind](row, d, levels.data(), 0.37f, out.data());
            for (std::size_t i = 0; i < static_cast<std::size_t>(d); ++i)
              ASSERT_EQ(out[i], 0.37f * rows[static_cast<std::size_t>(r * d) + i])
                  << k.name << ", kind " << kind;
            EXPECT_EQ(out.back(), 7.0f);
          }
          const std::int64_t ldx = d + 3, ldy = n + 2, lda = d + 5;
          const auto x = normals(7, static_cast<std::size_t>(m * ldx)),
                     p = normals(8, static_cast<std::size_t>(m * ldy));
          std::vector<float> y(static_cast<std::size_t>(m * ldy), 7.0f),
              acc(static_cast<std::size_t>(m * lda), 2.0f);
          k.score_codes[kind](packed.data(), n, d, levels.data(), x.data(), ldx, m, y.data(), ldy);
          k.mix_codes[kind](p.data(), ldy, m, packed.data(), n, d, levels.data(), acc.data(), lda);
          const auto row_at = [&](std::int64_t r, std::int64_t c) {
            return static_cast<double>(rows[static_cast<std::size_t>(r * d + c)]);
          };
          for (std::int64_t t = 0; t < m; ++t) {
            for (std::int64_t r = 0; r < ldy; ++r) {
              const auto got = static_cast<double>(y[static_cast<std::size_t>(t * ldy + r)]);
              if (r >= n) {
                ASSERT_EQ(got, 7.0) << "not a result more";
                continue;
              }
              double sum = 0, sizes = 0;
              for (std::int64_t c = 0; c < d; ++c) {
                const double part =
                    row_at(r, c) * static_cast<double>(x[static_cast<std::size_t>(t * ldx + c)]);
                sum += part, sizes += std::fabs(part);
              }
              ASSERT_NEAR(got, sum, sizes * kEps * static_cast<double>(d / 16 + 5))
                  << k.name << ", kind " << kind;
              float alone = 7.0f;
              k.score_codes[kind](packed.data() + static_cast<std::size_t>(r) * row_bytes, 1, d,
                                  levels.data(), x.data() + t * ldx, ldx, 1, &alone, 1);
              ASSERT_EQ(got, static_cast<double>(alone)) << "the same to the bit without neighbours";
            }
            for (std::int64_t c = 0; c < lda; ++c) {
              const auto got = static_cast<double>(acc[static_cast<std::size_t>(t * lda + c)]);
              double sum = 2, sizes = 2;
              for (std::int64_t r = 0; r < n && c < d; ++r) {
                const double part =
                    row_at(r, c) * static_cast<double>(p[static_cast<std::size_t>(t * ldy + r)]);
                sum += part, sizes += std::fabs(part);
              }
              ASSERT_NEAR(got, sum, c < d ? sizes * kEps * static_cast<double>(n + 1) : 0)
                  << k.name << ", kind " << kind;
            }
          }
        }
  }
}

TEST_P(EveryKernel, Elementwise) {
  const simd::Kernels& k = *GetParam();
  for (const std::size_t n : {1u, 2u, 15u, 16u, 17u, 64u, 576u, 1000u}) {
    const auto count = static_cast<std::int64_t>(n);
    const auto x = normals(1, n, 3), y = normals(2, n);
    Comparison compare(concat_name("elementwise", count, 0, 0));

    std::vector<float> out(n);
    k.rms_norm(x.data(), y.data(), 1e-5f, count, out.data());
    double square = 0;
    for (const float v : x) square += static_cast<double>(v) * static_cast<double>(v);
    const double inv = 1 / std::sqrt(square / static_cast<double>(n) + 1e-5);
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = x[i] * inv * y[i];
      compare.add(out[i], expected, (static_cast<double>(n) / 2 + 6) * kEps * std::fabs(expected) + 1e-30);
    }

    auto gate = x;
    k.silu_mul(gate.data(), y.data(), count);
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = x[i] / (1 + std::exp(-static_cast<double>(x[i]))) * y[i];
      compare.add(gate[i], expected, 16 * kEps * std::fabs(expected) + 1e-30);
    }

    auto sum = x;
    k.add(sum.data(), y.data(), count);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(sum[i], x[i] + y[i]);
    auto scaled = x;
    k.scale(scaled.data(), 1.7f, count);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(scaled[i], x[i] * 1.7f);
    EXPECT_EQ(k.max(x.data(), count), *std::max_element(x.begin(), x.end()));

    auto e = x;
    e[n / 2] = -std::numeric_limits<float>::infinity();
    const auto logits = e;
    const float total = k.exp_sum(e.data(), 2.5f, count);
    double expected_total = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = std::exp(static_cast<double>(logits[i]) - 2.5);
      expected_total += expected;
      // The argument is rounded once: an error of eps |x - 2.5| in it, and a few roundings of the polynomial.
      compare.add(e[i], expected, (8 + std::fabs(static_cast<double>(x[i]) - 2.5)) * kEps * expected + 1e-37);
    }
    EXPECT_EQ(e[n / 2], 0.0f);
    compare.add(total, expected_total, (static_cast<double>(n) + 24) * kEps * expected_total + 1e-37);

    if (n % 2 == 0) {
      auto turned = x;
      k.rope(turned.data(), y.data(), count);
      for (std::size_t i = 0; i < n; i += 2) {
        const double a = x[i], b = x[i + 1], c = y[i], s = y[i + 1];
        compare.add(turned[i], a * c - b * s, 3 * kEps * (std::fabs(a * c) + std::fabs(b * s)) + 1e-30);
        compare.add(turned[i + 1], a * s + b * c, 3 * kEps * (std::fabs(a * s) + std::fabs(b * c)) + 1e-30);
      }
    }

    std::vector<std::uint16_t> half(n);
    k.to_f16(x.data(), half.data(), count);
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(half[i], skv_f32_to_f16(x[i]));
  }
}

TEST_P(EveryKernel, HadamardAgainstItsDefinition) {
  const simd::Kernels& k = *GetParam();
  for (const std::int64_t n : {1, 2, 4, 8, 16, 32, 64, 256}) {
    const auto x = normals(3, static_cast<std::size_t>(n));
    std::vector<float> y = x;
    k.hadamard(y.data(), n);
    double size = 0;
    for (const float value : x) size += std::fabs(static_cast<double>(value));
    for (std::int64_t i = 0; i < n; ++i) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j)
        sum += (__builtin_popcountll(static_cast<unsigned long long>(i & j)) % 2 == 0 ? 1.0 : -1.0) *
               static_cast<double>(x[static_cast<std::size_t>(j)]);
      EXPECT_NEAR(static_cast<double>(y[static_cast<std::size_t>(i)]), sum,
                  std::log2(2.0 * static_cast<double>(n)) * kEps * size)
          << k.name << " n " << n << " i " << i;
    }
  }
}

TEST_P(EveryKernel, HalvesTimesAFactorAreExact) {
  const simd::Kernels& k = *GetParam();
  std::vector<std::uint16_t> halves;
  for (unsigned bits = 0; bits < 0x8000; bits += 7)
    if (bits < 0x7c00) halves.push_back(static_cast<std::uint16_t>(bits % 2 == 0 ? bits : bits | 0x8000u));
  for (const std::size_t n : {std::size_t{1}, std::size_t{15}, std::size_t{33}, halves.size()}) {
    std::vector<float> out(n + 1, -7.0f);
    k.from_f16(halves.data(), 0x1p-3f, out.data(), static_cast<std::int64_t>(n));
    for (std::size_t i = 0; i < n; ++i) EXPECT_EQ(out[i], skv_f16_to_f32(halves[i]) * 0x1p-3f) << k.name << i;
    EXPECT_EQ(out[n], -7.0f);
  }
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, EveryKernel, testing::ValuesIn(usable_kernels()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST(Dispatch, TheFirstUsableRunsUnlessNamed) {
  const char* wish = std::getenv("SPECTRALKV_SIMD");
  EXPECT_STREQ(kernels().name, wish != nullptr && *wish != '\0' ? wish : usable_kernels().front()->name);
  EXPECT_STREQ(usable_kernels().back()->name, "scalar");
}

}  // namespace
}  // namespace spectralkv
