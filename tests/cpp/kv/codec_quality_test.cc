// How well codecs keep a block, how many bits they count, and what they say about bad specs.
#include <gtest/gtest.h>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"

namespace spectralkv {
namespace {

using testing_support::low_rank_and_noise;
using testing_support::normals;
using testing_support::relative_error;

double error_of(const std::string& spec, std::int64_t d = 128) {
  double sum = 0;
  for (std::uint64_t seed = 1; seed <= 3; ++seed)
    sum += relative_error(spec, 128, d, low_rank_and_noise(128, d, 1000 * seed)) / 3;
  return sum;
}

TEST(CodecQuality, FactoringRemovesWhatTokensShare) {
  for (const std::int64_t d : {64, 128})
    for (const char* bits : {"2", "3", "4"}) {
      const double plain = error_of(concat("turboquant:", bits), d),
                   low_rank = error_of(concat("eoptshrinkq:", bits), d);
      EXPECT_LT(low_rank, 0.35 * plain) << bits << " bits, d=" << d;
    }
}

TEST(CodecQuality, ClosedLoopIsBetterThanOpen) {
  for (const char* loss : {"frobenius", "truncate"})
    EXPECT_LT(error_of(concat("eoptshrinkq:2,factor_bits=3,loss=", loss)),
              0.9 * error_of(concat("eoptshrinkq:2,factor_bits=3,loop=open,loss=", loss)));
}

// White noise: the distortions of the codebooks, which `least_squares` can only lower.
TEST(CodecQuality, NoiseHasTheDistortionOfTheCodebook) {
  const auto noise = normals(3, 128 * 128);
  const double expected[] = {0.3609, 0.1160, 0.0340, 0.0093};
  for (int b = 1; b <= 4; ++b) {
    const double got = relative_error(concat("turboquant:", b), 128, 128, noise);
    EXPECT_NEAR(got, expected[b - 1], 0.04 * expected[b - 1]);
    EXPECT_LT(relative_error(concat("turboquant:", b, ",scale=least_squares"), 128, 128, noise), got);
    EXPECT_DOUBLE_EQ(
        relative_error(concat("eoptshrinkq:", b, ",rotation=haar,scale=norm,scale_bits=16,quantiser=scalar"),
                       128, 128, noise),
        got);  // no false rank
  }
}

// Every row of the table at every width, by the bits that it says it takes: each of them takes three quarters
// of the error away. Today's have up to 2.7 4^-bits; exact ones lose a rounding to f16.
TEST(CodecQuality, EveryCodecIsWorthItsBits) {
  const std::int64_t n = 128, d = 128;
  const auto block = low_rank_and_noise(n, d, 5);
  for (const std::string& spec : testing_support::every_width()) {
    const BuiltCodec built = build_codec(spec, d);
    CodecWork work;
    const auto coded = testing_support::code(*built.codec, {block.data(), n, d}, work);
    const double bits =
        built.codec->paper_bits(coded.bytes.data(), n, static_cast<std::int64_t>(coded.bytes.size())) /
        static_cast<double>(n * d);
    EXPECT_LT(error_of(spec), built.lossy ? 3 * std::pow(4.0, -bits) : 0x1p-24) << spec;
  }
  EXPECT_LT(error_of("q8_0"), 1e-4);
  EXPECT_LT(error_of("q4_0"), 1e-2);
}

TEST(CodecQuality, BitsAreThePapers) {
  const std::int64_t n = 128, d = 128;
  const auto block = low_rank_and_noise(n, d, 5);
  CodecWork work;
  const BuiltCodec built = build_codec("eoptshrinkq:2,factor_bits=4,rows=0", d);
  const auto coded = testing_support::code(*built.codec, {block.data(), n, d}, work);
  // b n d + r (n + d) 4, and of bytes: header, shares and scales besides: these in bytes, and their largest.
  EXPECT_DOUBLE_EQ(built.codec->paper_bits(coded.bytes.data(), n, 0), 2.0 * 128 * 128 + 3 * 256 * 4);
  EXPECT_EQ(coded.bytes.size(), 2u + 3 * (2 + 64 + 64) + 2 + 128 * (1 + 32));
  // Too short a block has no low-rank part; the codes of 30 tokens fill tiles of 16.
  EXPECT_EQ(built.codec->max_bytes(30), 2 + 30 * 2 + 32 * 32);
}

// Four steps apart within a group are exact; over groups of the other kind they are not.
TEST(CodecQuality, KiviGroupsKeysByChannelAndValuesByToken) {
  const std::int64_t n = 70, d = 64;  // the last group of a channel has six tokens
  std::vector<float> by_channel(static_cast<std::size_t>(n * d)), by_token(by_channel.size());
  for (std::int64_t t = 0; t < n; ++t)
    for (std::int64_t c = 0; c < d; ++c) {
      const auto i = static_cast<std::size_t>(t * d + c);
      by_channel[i] = static_cast<float>(4 * c) + 0.5f * static_cast<float>((t + c) % 4);
      by_token[i] = static_cast<float>(-4 * t) + 0.25f * static_cast<float>((t + c) % 4);
    }
  CodecWork work;
  for (const KvSide side : {KvSide::keys, KvSide::values}) {
    const BuiltCodec built = build_codec("kivi:2", d, side);
    const bool keys = side == KvSide::keys;
    const auto& exact = keys ? by_channel : by_token;
    const auto coded = testing_support::code(*built.codec, {exact.data(), n, d}, work);
    EXPECT_EQ(coded.rows, exact);
    const auto groups = static_cast<std::size_t>(keys ? 3 * d : n * 2);
    EXPECT_EQ(coded.bytes.size(), static_cast<std::size_t>(n * d / 4) + 4 * groups);
    EXPECT_NE(testing_support::code(*built.codec, {(keys ? by_token : by_channel).data(), n, d}, work).rows,
              keys ? by_token : by_channel);
  }
}

TEST(CodecSpecs, DefaultsAndPaper) {
  const BuiltCodec usual = build_codec("eoptshrinkq:2", 64);
  EXPECT_TRUE(usual.lossy);
  EXPECT_EQ(usual.text, "eoptshrinkq:2");
  EXPECT_EQ(usual.layout, (CacheLayout{128, 4, 128}));
  const BuiltCodec paper = build_codec("eoptshrinkq:2,paper", 64);
  EXPECT_EQ(paper.text, "eoptshrinkq:2,paper");
  EXPECT_EQ(paper.layout, (CacheLayout{128, 0, 0}));
  // The flag stands for these options.
  const auto block = low_rank_and_noise(128, 64, 5);
  EXPECT_EQ(relative_error("eoptshrinkq:2,paper", 128, 64, block),
            relative_error(
                "eoptshrinkq:2,loss=frobenius,loop=open,scale=norm,scale_bits=16,rotation=haar,factor_bits=4,"
                "quantiser=scalar",
                128, 64, block));
  EXPECT_EQ(build_codec("turboquant:3", 64).layout, (CacheLayout{128, 0, 0}));
  EXPECT_EQ(build_codec("turboquant:3,window=64,block=64,sink=2", 64).text,
            "turboquant:3,sink=2,window=64,block=64");
  EXPECT_EQ(build_codec("turboquant:3,rotation=hadamard", 64).text, "turboquant:3,rotation=hadamard");
  EXPECT_EQ(build_codec("turboquant:3,rotation=hadamard", 80).text, "turboquant:3")
      << "80 is no power of two";
}

TEST(CodecSpecs, BadOnesSayWhatIsWrong) {
  const auto message = [](const std::string& spec, std::int64_t d) -> std::string {
    try {
      build_codec(spec, d);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  };
  const auto says = [&](const std::string& spec, const std::string& part, std::int64_t d = 64) {
    const std::string got = message(spec, d);
    EXPECT_NE(got.find(part), std::string::npos) << spec << ": " << got;
  };
  says("q5", "f32, f16, q8_0, q4_0, turboquant, eoptshrinkq, kivi");
  says("q8_0:3", "takes no bits");
  says("turboquant", "'turboquant:2'");
  says("turboquant:9", "bits must be 1 to 8, got 9");
  says("kivi", "'kivi:2'");
  says("kivi:9", "2 to 8 bits");
  says("eoptshrinkq:0", "bits must be 1 to 8, or a mean of heads from 1 to 5, got 0");
  says("eoptshrinkq:2,loss=trunc", "frobenius, operator, nuclear, truncate");
  says("eoptshrinkq:2,loop=half", "closed, open");
  says("eoptshrinkq:2,factor_bits=9", "1 to 8");
  says("eoptshrinkq:2,rank=4", "its options: metric=");
  says("turboquant:2,loss=frobenius", "its options: rotation=");
  says("turboquant:2,scale=max", "norm, least_squares, unbiased, length");
  says("turboquant:2,sink=128", "sink (128) must be less than block (128)");
  says("q4_0,rotation=random", "none, hadamard, haar");
  says("q4_0,paper", "its options: rotation=");
  says("eoptshrinkq:2", "multiple of 16", 72);
}

TEST(CodecErrors, WhatIsNotFiniteIsRefused) {
  for (const char* spec : {"turboquant:2", "eoptshrinkq:2"})
    for (const float bad : {INFINITY, -INFINITY, NAN}) {
      std::vector<float> block(128 * 64, 1.0f);
      block[77] = bad;
      const BuiltCodec built = build_codec(spec, 64);
      CodecWork work;
      std::vector<std::byte> out(static_cast<std::size_t>(built.codec->max_bytes(128)));
      EXPECT_THROW(built.codec->encode({block.data(), 128, 64}, {}, out.data(), work), Error) << spec << bad;
    }
}

}  // namespace
}  // namespace spectralkv
