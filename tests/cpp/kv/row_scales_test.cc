// Scales of rows as bytes, against what the format says of them, and in place of f16 in a whole block.
#include "kv/codecs/row_scales.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "formats/row_scales.h"
#include "kv/codecs.h"

namespace spectralkv {
namespace {

std::vector<float> read(const std::vector<std::byte>& stored, std::size_t n, float unit) {
  std::vector<float> out(n);
  read_row_scales(stored.data(), static_cast<std::int64_t>(n), unit, out.data());
  return out;
}

TEST(RowScales, BytesAreAsPreciseAsTheirStep) {
  for (const std::size_t n : {1u, 2u, 3u, 5u, 17u, 128u, 255u}) {
    std::vector<std::uint16_t> scales(n);
    std::vector<float> exact(n);
    float largest = 0;
    for (std::size_t t = 0; t < n; ++t) {
      scales[t] = skv_f32_to_f16(
          t == n / 2 ? 0.0f : 100 * std::min(600.0f, static_cast<float>(std::exp(2 * random_normal(n, t)))));
      exact[t] = skv_f16_to_f32(scales[t]);
      largest = std::max(largest, exact[t]);
    }
    std::vector<std::byte> stored(2 * n + 8, std::byte{0xa5});
    const std::int64_t used = store_row_scales(scales, true, stored.data());
    EXPECT_EQ(used % 2, 0);
    EXPECT_LE(used, most_row_scale_bytes(static_cast<std::int64_t>(n)));
    EXPECT_EQ(used, row_scale_bytes(stored.data(), static_cast<std::int64_t>(n)));
    EXPECT_TRUE(holds_row_scales(stored.data(), static_cast<std::int64_t>(n), 10, used + 10));
    EXPECT_FALSE(holds_row_scales(stored.data(), static_cast<std::int64_t>(n), 10, used + 12));
    for (std::size_t i = static_cast<std::size_t>(used); i < stored.size(); ++i)
      EXPECT_EQ(stored[i], std::byte{0xa5}) << "written beyond the end";
    EXPECT_EQ(n > 4, skv_has_byte_scales(reinterpret_cast<const std::uint8_t*>(stored.data())) != 0);
    const std::vector<float> got = read(stored, n, 0.5f);
    for (std::size_t t = 0; t < n; ++t) {
      // Half a step of the root, squared: sqrt(s L) / 255 and a little more.
      const float step = largest / 255,
                  bound = std::sqrt(exact[t] * largest) / 255 + step / 1020 + 1e-6f * exact[t];
      EXPECT_NEAR(got[t], exact[t] / 2, bound / 2) << t << " of " << n;
      EXPECT_EQ(got[t] / 0.5f, skv_row_scale(reinterpret_cast<const std::uint8_t*>(stored.data()), t));
    }
  }
}

TEST(RowScales, ZerosAndTheLargestAreExact) {
  std::vector<std::byte> stored(64);
  const std::vector<std::uint16_t> zeros(9, 0);
  EXPECT_EQ(store_row_scales(zeros, true, stored.data()), 12);
  for (const float x : read(stored, 9, 3)) EXPECT_EQ(x, 0);
  std::vector<std::uint16_t> scales(9, skv_f32_to_f16(1e-6f));
  scales[4] = 0x7bff;  // the largest of f16
  store_row_scales(scales, true, stored.data());
  EXPECT_NEAR(read(stored, 9, 1)[4], 65504, 65504 * 1e-6);
}

// Bytes in place of f16 cost next to nothing of what a block's codes cost, and are told apart in files.
TEST(RowScales, CostLittleInABlock) {
  constexpr std::int64_t n = 128, d = 64;
  std::vector<float> rows(n * d);
  for (std::size_t i = 0; i < rows.size(); ++i)
    rows[i] = static_cast<float>(random_normal(5, i)) * (i / d % 16 == 0 ? 20.0f : 1.0f);
  std::vector<double> errors;
  std::vector<std::int64_t> sizes;
  for (const char* spec : {"eoptshrinkq:2", "eoptshrinkq:2,scale_bits=16", "turboquant:2,scale_bits=8"}) {
    const BuiltCodec built = build_codec(spec, {d, KvSide::keys});
    std::vector<std::byte> block(static_cast<std::size_t>(built.codec->max_bytes(n)));
    CodecWork work;
    const std::int64_t used = built.codec->encode(ConstMatrix(rows.data(), n, d), {}, block.data(), work);
    EXPECT_TRUE(built.codec->valid(block.data(), n, used));
    EXPECT_FALSE(built.codec->valid(block.data(), n, used - 2));
    sizes.push_back(used);
    std::vector<float> back(rows.size());
    built.codec->decode(block.data(), n, Matrix(back.data(), n, d));
    double error = 0;
    for (std::size_t i = 0; i < rows.size(); ++i)
      error += std::pow(static_cast<double>(back[i] - rows[i]), 2);
    errors.push_back(error);
  }
  EXPECT_NEAR(errors[0] / errors[1], 1, 0.01);
  EXPECT_EQ(sizes[1] - sizes[0], 2 * n - (2 + n));
}

}  // namespace
}  // namespace spectralkv
