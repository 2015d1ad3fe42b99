// Whole numbers times codes in tiles, of every instruction set that this machine runs: against exact sums,
// with the largest numbers that there are, and the rounding of rows to such numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/random.h"
#include "formats/codetiles.h"
#include "simd/dispatch.h"
#include "support/compare.h"

namespace spectralkv {
namespace {

using testing_support::kEps;
using testing_support::normals;

class Tiles : public testing::TestWithParam<const simd::Kernels*> {};

// Numbers low to high, at `extreme` the ends alone.
int number(std::uint64_t seed, std::size_t i, int low, int high, bool extreme) {
  const std::uint64_t bits = random_bits(seed, i) >> 40;
  if (extreme) return bits % 2 == 0 ? low : high;
  return low + static_cast<int>(bits % static_cast<std::uint64_t>(high - low + 1));
}

// Products of `kernels` on [rows, 4 groups] codes and `count` rows, added to ones: [count, rows + 1].
struct Products {
  std::vector<float> y;
  std::vector<double> exact, size;

  Products(const simd::Kernels& kernels, int bits, bool sign, std::size_t rows, std::size_t groups,
           std::size_t count, bool extreme, bool scaled) {
    const std::size_t depth = 4 * groups, ld = (depth + 63) / 64 * 64;
    std::vector<std::int8_t> levels(std::size_t{1} << bits);
    for (std::size_t i = 0; i < levels.size(); ++i)
      levels[i] = static_cast<std::int8_t>(number(1, i, -127, 127, extreme));
    std::vector<std::uint8_t> codes(rows * depth);
    for (std::size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<std::uint8_t>(number(2, i, 0, (1 << bits) - 1, false));
    std::vector<std::uint8_t> tiles(skv_tiled_bytes(rows, depth, bits));
    skv_pack_tiles(codes.data(), rows, depth, depth, 1, bits, tiles.data());
    tiles.shrink_to_fit();  // so that the sanitizer sees a read behind the end
    std::vector<std::int8_t> signed_rows(count * ld, 0);
    std::vector<std::uint8_t> unsigned_rows(count * ld, 0);
    std::vector<std::int32_t> sums(count, 0);
    std::vector<float> steps(count);
    for (std::size_t t = 0; t < count; ++t) {
      steps[t] = 0.01f * static_cast<float>(t + 1);
      for (std::size_t k = 0; k < depth; ++k) {
        const int value = sign ? number(3 + t, k, -127, 127, extreme) : number(3 + t, k, 0, 255, extreme);
        signed_rows[t * ld + k] = static_cast<std::int8_t>(sign ? value : 0);
        unsigned_rows[t * ld + k] = static_cast<std::uint8_t>(sign ? 0 : value);
        sums[t] += value;
      }
    }
    const auto scale = normals(9, rows);
    const simd::CodeTiles a{tiles.data(),
                            static_cast<std::int64_t>(rows),
                            static_cast<std::int64_t>(groups),
                            static_cast<std::int64_t>(groups * skv_tile_bytes(bits)),
                            levels.data(),
                            0.3f,
                            nullptr};
    const auto ldy = static_cast<std::int64_t>(rows + 1), n = static_cast<std::int64_t>(count),
               lead = static_cast<std::int64_t>(ld);
    y.assign(count * (rows + 1), 1.0f);
    const float* const factors = scaled ? scale.data() : nullptr;
    if (sign)
      kernels.add_tiles[bits - 1](a, {signed_rows.data(), lead, steps.data(), sums.data(), n}, factors,
                                  y.data(), ldy);
    else
      kernels.add_probability_tiles[bits - 1](a, {unsigned_rows.data(), lead, steps.data(), n}, factors,
                                              y.data(), ldy);
    for (std::size_t t = 0; t < count; ++t)
      for (std::size_t r = 0; r <= rows; ++r) {
        double sum = 0;
        for (std::size_t k = 0; k < depth && r < rows; ++k)
          sum += static_cast<double>(levels[codes[r * depth + k]]) *
                 (sign ? signed_rows[t * ld + k] : unsigned_rows[t * ld + k]);
        const double factor = static_cast<double>(0.3f) * static_cast<double>(steps[t]) *
                              static_cast<double>(scaled && r < rows ? scale[r] : 1.0f);
        exact.push_back(1 + sum * factor);
        size.push_back(1 + std::fabs(sum * factor));
      }
  }
};

TEST_P(Tiles, ProductsAreExactSumsAndTheSameOnAllSetsThatFuse) {
  const simd::Kernels& best = *usable_kernels().front();
  for (int bits = 1; bits <= simd::kTileBits; ++bits)
    for (const bool sign : {true, false})
      for (const std::size_t rows : {1u, 16u, 37u, 80u})
        for (const std::size_t groups : {1u, 7u, 16u, 70u})
          for (const std::size_t count : {1u, 2u, 3u, 4u, 5u, 7u, 14u})
            for (const bool extreme : {false, true}) {
              const bool scaled = (rows + count) % 2 == 0;
              const Products got(*GetParam(), bits, sign, rows, groups, count, extreme, scaled);
              for (std::size_t i = 0; i < got.y.size(); ++i)  // a rounding of the sum, one or two of factors
                ASSERT_NEAR(static_cast<double>(got.y[i]), got.exact[i], 5 * kEps * got.size[i])
                    << GetParam()->name << " bits " << bits << " rows " << rows << " groups " << groups;
              if (GetParam()->name == std::string("scalar")) continue;
              const Products first(best, bits, sign, rows, groups, count, extreme, scaled);
              ASSERT_EQ(std::memcmp(got.y.data(), first.y.data(), got.y.size() * 4), 0) << GetParam()->name;
            }
}

TEST_P(Tiles, TheDeepestSumsFit) {
  for (const bool sign : {true, false}) {
    const Products got(*GetParam(), 4, sign, 16, simd::kMostGroups, 2, true, false);
    for (std::size_t i = 0; i < got.y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(got.y[i]), got.exact[i], 5 * kEps * got.size[i]) << GetParam()->name;
  }
}

TEST_P(Tiles, RowsBecomeTheSameNumbersOnAllSets) {
  const simd::Kernels &k = *GetParam(), &plain = *simd::kernels_scalar();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const std::size_t n : {1u, 15u, 16u, 63u, 64u, 100u, 320u}) {
    constexpr std::size_t kRows = 5;
    const std::size_t ldx = n + 3, ld = (n + 63) / 64 * 64;
    auto x = normals(4, kRows * ldx);
    for (std::size_t i = 0; i < n; ++i) x[ldx + i] = 0;
    x[2 * ldx + n / 2] = std::numeric_limits<float>::quiet_NaN();
    x[3 * ldx + n / 2] = kInfinity;
    x[4 * ldx + n / 2] = -0.0f;
    const auto scale = normals(5, n);
    struct Rows {
      std::vector<std::int8_t> bytes;
      std::vector<std::uint8_t> shares;
      std::vector<float> steps, share_steps;
      std::vector<std::int32_t> sums;
    };
    const auto rounded = [&](const simd::Kernels& kernels) {
      Rows out{std::vector<std::int8_t>(kRows * ld, 99), std::vector<std::uint8_t>(kRows * ld, 99),
               std::vector<float>(kRows), std::vector<float>(kRows), std::vector<std::int32_t>(kRows)};
      kernels.to_bytes(x.data(), static_cast<std::int64_t>(ldx), kRows, static_cast<std::int64_t>(n),
                       out.bytes.data(), static_cast<std::int64_t>(ld), out.steps.data(), out.sums.data());
      kernels.to_probability_bytes(x.data(), static_cast<std::int64_t>(ldx), kRows,
                                   static_cast<std::int64_t>(n), scale.data(), out.shares.data(),
                                   static_cast<std::int64_t>(ld), out.share_steps.data());
      return out;
    };
    const Rows got = rounded(k), wanted = rounded(plain);
    for (std::size_t t = 0; t < kRows; ++t) {
      const bool finite = t != 2 && t != 3;
      ASSERT_EQ(std::isnan(got.steps[t]), !finite) << k.name << " row " << t << " of " << n;
      if (!finite) continue;
      EXPECT_EQ(got.steps[t], wanted.steps[t]);
      EXPECT_EQ(got.sums[t], wanted.sums[t]);
      EXPECT_EQ(got.share_steps[t], wanted.share_steps[t]);
      for (std::size_t i = 0; i < ld; ++i) {
        ASSERT_EQ(got.bytes[t * ld + i], wanted.bytes[t * ld + i]) << k.name << " row " << t << " of " << n;
        ASSERT_EQ(got.shares[t * ld + i], wanted.shares[t * ld + i]) << k.name << " row " << t << " of " << n;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, Tiles, testing::ValuesIn(usable_kernels()),
                         [](const auto& row) { return std::string(row.param->name); });

}  // namespace
}  // namespace spectralkv
