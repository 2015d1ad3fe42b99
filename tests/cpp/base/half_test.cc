// f16 and bf16 conversions over all bit patterns and against the definition of rounding.
#include "base/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace {

TEST(Half, EveryF16RoundTrips) {
  for (std::uint32_t h = 0; h < 0x10000; ++h) {
    const auto half = static_cast<std::uint16_t>(h);
    const float value = skv_f16_to_f32(half);
    if ((h & 0x7fffu) > 0x7c00u) {
      EXPECT_TRUE(std::isnan(value));
      EXPECT_TRUE(std::isnan(skv_f16_to_f32(skv_f32_to_f16(value))));
      continue;
    }
    EXPECT_EQ(skv_f32_to_f16(value), half);
    const int exponent = static_cast<int>((h >> 10) & 31u);
    const double mantissa = static_cast<double>(h & 1023u);
    if (exponent < 31) {
      const double meaning =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024.0 + mantissa, exponent - 25);
      EXPECT_EQ(std::fabs(static_cast<double>(value)), meaning);
    }
  }
}

TEST(Half, RoundsToNearestEven) {
  for (std::uint32_t h = 0; h < 0x7bffu; ++h) {
    const float low = skv_f16_to_f32(static_cast<std::uint16_t>(h));
    const float high = skv_f16_to_f32(static_cast<std::uint16_t>(h + 1));
    const float middle = (low + high) / 2;  // exact in f32
    EXPECT_EQ(skv_f32_to_f16(middle), (h & 1u) ? h + 1 : h);
    EXPECT_EQ(skv_f32_to_f16(std::nextafter(middle, 0.0f)), h);
    EXPECT_EQ(skv_f32_to_f16(std::nextafter(middle, 1e9f)), h + 1);
  }
  EXPECT_EQ(skv_f32_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(skv_f32_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(skv_f32_to_f16(-1e30f), 0xfc00);
}

TEST(Half, Bf16RoundsToNearestEven) {
  for (std::uint32_t h = 0; h < 0x7f80u; ++h) {
    const float value = skv_bf16_to_f32(static_cast<std::uint16_t>(h));
    EXPECT_EQ(skv_f32_to_bf16(value), h);
    const float middle = skv_bits_to_f32((h << 16) | 0x8000u);
    EXPECT_EQ(skv_f32_to_bf16(middle), (h & 1u) ? h + 1 : h);
  }
  EXPECT_TRUE(std::isnan(skv_bf16_to_f32(skv_f32_to_bf16(NAN))));
}

}  // namespace
