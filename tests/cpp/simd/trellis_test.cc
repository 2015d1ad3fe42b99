// Trellis codes of every instruction set that this machine runs: against their definition, and the search
// against the plain one and against what a search may lose.
#include "formats/trellis.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "simd/dispatch.h"
#include "support/compare.h"

namespace spectralkv {
namespace {

using testing_support::normals;

class Trellis : public testing::TestWithParam<const simd::Kernels*> {};

std::vector<std::uint8_t> random_bytes(std::uint64_t seed, std::size_t n) {
  std::vector<std::uint8_t> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::uint8_t>(random_bits(seed, i) >> 56);
  return bytes;
}

TEST_P(Trellis, ExpandsToTheIndicesOfTheDefinition) {
  for (const std::size_t groups : {1u, 2u, 3u, 5u, 6u, 7u, 16u, 31u, 32u})
    for (const std::size_t sixteens : {1u, 3u}) {
      auto tiles = random_bytes(groups, sixteens * groups * 16);
      tiles.shrink_to_fit();  // so that the sanitizer sees a read behind the end
      std::vector<std::uint8_t> out(2 * tiles.size() + 1, 77), ahead(tiles.size());
      GetParam()->expand_trellis(tiles.data(), static_cast<std::int64_t>(sixteens),
                                 static_cast<std::int64_t>(groups), sixteens == 1 ? nullptr : ahead.data(),
                                 out.data());
      EXPECT_EQ(out.back(), 77);
      const std::size_t depth = 4 * groups;
      for (std::size_t r = 0; r < 16 * sixteens; ++r)
        for (std::size_t k = 0; k < depth; ++k)
          ASSERT_EQ(skv_tiled_code(out.data(), depth, 4, r, k), skv_trellis_index(tiles.data(), depth, r, k))
              << "groups " << groups << ", row " << r << ", column " << k;
    }
}

struct Found {
  std::vector<std::uint8_t> codes;
  double distortion = 0;
};

// Rows in order of their ring, 16 side by side; the last `free` steps are of no account.
Found search(const simd::Kernels& kernels, const std::vector<float>& x, std::int64_t steps,
             std::int64_t free) {
  std::vector<std::int8_t> points(x.size());
  for (std::size_t i = 0; i < x.size(); ++i)
    points[i] = static_cast<std::int64_t>(i) >= 16 * (steps - free)
                    ? std::int8_t{-128}
                    : static_cast<std::int8_t>(std::lrintf(std::clamp(40 * x[i], -114.0f, 114.0f)));
  Found found;
  found.codes.resize(x.size());
  std::vector<std::uint8_t> work(static_cast<std::size_t>(simd::trellis_work(steps)));
  kernels.trellis_codes(points.data(), steps, found.codes.data(), work.data());
  double error = 0, all = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(16 * (steps - free)); ++i) {
    const double value = static_cast<double>(x[i]);
    const double level = static_cast<double>(SKV_TRELLIS_UNIT) * skv_trellis_level(found.codes[i] >> 4);
    error += (value - level) * (value - level);
    all += value * value;
  }
  found.distortion = error / all;
  return found;
}

// Codes of 16 rows in ring order as tiles: the index beside each is what the tiles say.
TEST_P(Trellis, TheSearchSaysWhatItsCodesMean) {
  for (const std::int64_t groups : {1, 2, 4, 16, 31, 32}) {
    const std::int64_t steps = 4 * groups, free = groups == 31 ? 3 : 0;
    const auto x = normals(static_cast<std::uint64_t>(groups), static_cast<std::size_t>(16 * steps));
    const Found found = search(*GetParam(), x, steps, free);
    const auto depth = static_cast<std::size_t>(steps), all = static_cast<std::size_t>(groups);
    std::vector<std::uint8_t> codes(x.size()), tiles(x.size() / 4);
    for (std::size_t s = 0; s < depth; ++s)
      for (std::size_t r = 0; r < 16; ++r)
        codes[r * depth + 4 * (s % all) + s / all] = found.codes[16 * s + r] & 3u;
    skv_pack_tiles(codes.data(), 16, depth, depth, 1, 2, tiles.data());
    for (std::size_t s = 0; s < depth; ++s)
      for (std::size_t r = 0; r < 16; ++r)
        ASSERT_EQ(found.codes[16 * s + r] >> 4,
                  static_cast<int>(skv_trellis_index(tiles.data(), depth, r, 4 * (s % all) + s / all)))
            << groups << " groups, step " << s << ", row " << r;
  }
}

TEST_P(Trellis, TheSearchIsThePlainOne) {
  const simd::Kernels& plain = *simd::kernels_scalar();
  for (const std::int64_t steps : {4, 8, 28, 64, 128, 200})
    for (const float size : {0.0f, 1.0f, 30.0f}) {
      auto x = normals(static_cast<std::uint64_t>(steps), static_cast<std::size_t>(16 * steps));
      for (float& v : x) v *= size;
      EXPECT_EQ(search(*GetParam(), x, steps, steps == 28 ? 2 : 0).codes,
                search(plain, x, steps, steps == 28 ? 2 : 0).codes)
          << steps << " steps, deviation " << size;
    }
}

// formats/trellis.h says .0773; single entries lose .1175.
TEST_P(Trellis, LosesWhatTheHeaderSays) {
  for (const std::int64_t steps : {64, 128, 256}) {
    double sum = 0;
    constexpr int kTries = 60;
    for (int i = 0; i < kTries; ++i)
      sum +=
          search(*GetParam(),
                 normals(static_cast<std::uint64_t>(1000 * steps + i), static_cast<std::size_t>(16 * steps)),
                 steps, 0)
              .distortion;
    EXPECT_NEAR(sum / kTries, 0.0773, 0.0012) << steps << " steps";
  }
}

INSTANTIATE_TEST_SUITE_P(AllInstructionSets, Trellis, testing::ValuesIn(usable_kernels()),
                         [](const auto& row) { return std::string(row.param->name); });

}  // namespace
}  // namespace spectralkv
