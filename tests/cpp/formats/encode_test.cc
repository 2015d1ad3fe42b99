// The encoders: exact where a type is, near the best grid where it is not, and never worse for odd blocks.
#include "formats/encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/random.h"
#include "formats/formats.h"

namespace spectralkv {
namespace {

struct Type {
  const char* name;
  int index;
  std::int64_t values, bytes;
  double gaussian;  // most squared error, relative to the variance, that a standard normal may have
};

// What each type may lose of a standard normal (Type::gaussian). A type with an encoder and without a line
// fails a test.
// clang-format off
const std::map<std::string, double> kGaussian = {
    {"f32", 0},
    {"f16", 1e-7},
    {"bf16", 4e-6},
    {"q8_0", 3e-5},
    {"q6_k", 3.2e-4},
    {"q5_k", 1.3e-3},
    {"q5_1", 1.25e-3},
    {"q5_0", 1.75e-3},
    {"q4_k", 5.2e-3},
    {"q4_1", 5.1e-3},
    {"q4_0", 7.1e-3},
    {"q3_k", 2.2e-2},
    {"q2_k", 7.2e-2},
    {"iq4_nl", 6.0e-3},
    {"iq4_xs", 6.0e-3},
};
// clang-format on

// Those that have an encoder.
std::vector<Type> types() {
  std::vector<Type> all;
  int index = 0;
#define X(name, id, values, bytes, ...)                                            \
  if (kEncode[index] != nullptr) all.push_back({#name, index, values, bytes, -1}); \
  ++index;
#include "formats/list.def"
#undef X
  for (Type& type : all)
    if (const auto found = kGaussian.find(type.name); found != kGaussian.end()) type.gaussian = found->second;
  return all;
}

std::vector<float> round_trip(const Type& type, const std::vector<float>& in) {
  const auto n = static_cast<std::int64_t>(in.size());
  std::vector<std::uint8_t> row(static_cast<std::size_t>(n / type.values * type.bytes));
  const std::vector<float> weights(in.size(), 1.0f);
  kEncode[type.index](in.data(), weights.data(), row.data(), n);
  std::vector<float> out(in.size(), NAN);
  kDecode[type.index](row.data(), out.data(), n);
  return out;
}

double squared_error(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += std::pow(static_cast<double>(a[i] - b[i]), 2);
  return sum / static_cast<double>(a.size());
}

std::vector<float> gaussian(std::size_t n, float scale) {
  std::vector<float> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = scale * static_cast<float>(random_normal(7, i));
  return out;
}

TEST(Encode, GaussianErrors) {
  const std::vector<float> in = gaussian(256 * 64, 1);
  for (const Type& type : types()) {
    ASSERT_GE(type.gaussian, 0) << type.name << " has no line in kGaussian";
    const double error = squared_error(in, round_trip(type, in));
    EXPECT_LE(error, type.gaussian) << type.name;
    RecordProperty(type.name, std::to_string(error));
  }
}

TEST(Encode, F16RoundsLikeTheConversion) {
  std::vector<float> in;
  for (std::uint32_t bits = 0; bits < 0x477ff000u;
       bits += 997) {  // magnitudes below the one that becomes infinite
    in.push_back(skv_bits_to_f32(bits));
    in.push_back(skv_bits_to_f32(bits | 0x80000000u));
  }
  std::vector<std::uint16_t> out(in.size());
  encode_f16(in.data(), nullptr, out.data(), static_cast<std::int64_t>(in.size()));
  for (std::size_t i = 0; i < in.size(); ++i) ASSERT_EQ(out[i], skv_f32_to_f16(in[i])) << in[i];
}

TEST(Encode, ErrorFollowsTheScale) {
  for (const Type& type : types()) {
    if (type.gaussian < 1e-5) continue;
    for (const float scale : {1e-3f, 1e3f}) {
      const std::vector<float> in = gaussian(256 * 16, scale);
      EXPECT_LE(squared_error(in, round_trip(type, in)), 1.2 * type.gaussian * scale * scale) << type.name;
    }
  }
}

TEST(Encode, OddBlocksStayFiniteAndNear) {
  for (const Type& type : types()) {
    for (const float value : {0.0f, 1.0f, -1.0f, 1e-8f, -3e-5f, 6e4f, -65504.0f}) {
      const std::vector<float> in(256, value);
      for (const float out : round_trip(type, in)) {
        ASSERT_TRUE(std::isfinite(out)) << type.name << " " << value;
        EXPECT_NEAR(out, value, 0.04f * std::fabs(value) + 1e-6f) << type.name;
      }
    }
    std::vector<float> spike(256, 0.0f);  // one large value among zeros must not be lost
    spike[77] = -5;
    const std::vector<float> out = round_trip(type, spike);
    EXPECT_NEAR(out[77], -5, 0.05f) << type.name;
    EXPECT_NEAR(out[3], 0, 1e-3f) << type.name;
    spike.assign(256, 0.0f);
    for (std::size_t i = 0; i < 256; i += 2) spike[i] = 1;
    for (std::size_t i = 0; i < 256; ++i)
      EXPECT_NEAR(round_trip(type, spike)[i], spike[i], 0.05f) << type.name;
  }
}

TEST(Encode, FewLevelsLoseLittle) {
  // Values on a grid that every type with even steps can represent: codes of one scale, the ends of the range
  // among them. Levels of a table come near: iq4_nl has 1 in place of 0 of 127.
  for (const Type& type : types()) {
    std::vector<float> in(256);
    for (std::size_t i = 0; i < in.size(); ++i)
      in[i] = 0.25f * static_cast<float>(static_cast<int>(i % 4) - 2);
    EXPECT_LE(squared_error(in, round_trip(type, in)), 7e-5) << type.name;
  }
}

TEST(Encode, TheWorstValueIsWithinAStep) {
  const std::vector<float> in = gaussian(256, 1);
  for (const Type& type : types()) {
    const std::vector<float> out = round_trip(type, in);
    double worst = 0;
    for (std::size_t i = 0; i < in.size(); ++i)
      worst = std::fmax(worst, std::fabs(static_cast<double>(in[i] - out[i])));
    EXPECT_LE(worst, 8 * std::sqrt(type.gaussian) + 1e-9) << type.name;
  }
}

}  // namespace
}  // namespace spectralkv
