// Components of their own width: which width the rule picks, that what is stored errs as the rule says, whole
// numbers through the f16 share, and blocks as version 0.1.0 wrote them.
#include "kv/codecs/factor_codes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "cpp/kv/codec_cases.h"
#include "formats/coded_block.h"

namespace spectralkv {
namespace {

using testing_support::low_rank_and_noise;
using testing_support::normals;

std::vector<float> unit_vector(std::size_t n, std::uint64_t seed) {
  auto v = normals(seed, n);
  double sum = 0;
  for (const float x : v) sum += static_cast<double>(x) * static_cast<double>(x);
  for (float& x : v) x = static_cast<float>(static_cast<double>(x) / std::sqrt(sum));
  return v;
}

// The stored component against size * left * right^T: |difference|^2.
double stored_error(const FactorCodes& codes, const CodedFactor& coded, const std::vector<float>& left,
                    const std::vector<float>& right, double size) {
  const auto width = static_cast<std::uint8_t>(coded.width);
  const SkvFactors factors{1, codes.plain_width(), kSkvLeastHead, 0, codes.own_widths() ? &width : nullptr};
  const auto columns = [&](const std::vector<std::uint16_t>& column) {
    std::vector<std::uint16_t> wide = column;
    wide.resize((column.size() + 15) / 16 * 16);
    std::vector<std::uint8_t> packed(skv_packed_bytes(static_cast<int>(wide.size()), coded.width));
    skv_pack_codes(wide.data(), static_cast<int>(wide.size()), coded.width, packed.data());
    std::vector<float> out(wide.size());
    codes.runs(factors).decode(packed.data(), {out.data(), 1, std::ssize(out)});
    return out;
  };
  const auto a = columns(coded.left), b = columns(coded.right);
  float scale = 0;
  factor_scales(factors, &coded.share, 1, &scale);
  double error = 0;
  for (std::size_t t = 0; t < left.size(); ++t)
    for (std::size_t c = 0; c < right.size(); ++c)
      error +=
          std::pow(size * static_cast<double>(left[t]) * static_cast<double>(right[c]) -
                       static_cast<double>(scale) * static_cast<double>(a[t]) * static_cast<double>(b[c]),
                   2);
  return error;
}

TEST(FactorCodes, TheSmallestWidthThatIsPreciseEnough) {
  const FactorCodes codes(0);
  const auto left = unit_vector(124, 1), right = unit_vector(128, 2);
  int last = 0;
  for (double allowed = 1; allowed > 1e-12; allowed *= 0.5) {
    const double size = 100;
    const CodedFactor coded = codes.encode(left, right, size, allowed * size * size);
    EXPECT_GE(coded.width, last) << "a smaller error takes no fewer bits";
    last = coded.width;
    EXPECT_TRUE(codes.knows_width(coded.width));
    EXPECT_EQ(coded.whole, coded.width >= kSkvWholeWidth);
    const double error = stored_error(codes, coded, left, right, size) / size / size;
    // The products of the errors come on top, and the share, an f16 number, may be off by 2^-11 where nothing
    // takes it back. Whole numbers err by a twelfth of a square of their unit in the mean: a sum of some 250
    // such squares stays within a third of it.
    if (coded.width < kMostFactorWidth) {
      const double share = coded.whole ? 0 : 0x1p-11;
      EXPECT_LT(std::sqrt(error),
                std::sqrt(allowed * (coded.whole ? 1.34 : 1.0)) * (1 + std::sqrt(allowed)) + share)
          << coded.width;
    }
  }
  EXPECT_EQ(last, 16);
}

// A spike of all tokens' energy is beyond the levels of a Gaussian codebook, but not beyond whole numbers.
TEST(FactorCodes, AColumnWithOneLargeEntry) {
  const FactorCodes codes(0);
  std::vector<float> left(128, 1e-3f);
  left[17] = 1;
  const auto right = unit_vector(128, 3);
  const CodedFactor coded = codes.encode(left, right, 1000, 1.0);
  EXPECT_GE(coded.width, 8);
  EXPECT_LT(stored_error(codes, coded, left, right, 1000), 2.0);
}

TEST(FactorCodes, SharesAcrossTheRangeOfF16) {
  const FactorCodes codes(0);
  const auto left = unit_vector(128, 4), right = unit_vector(64, 5);
  for (double size = 1e-6; size < 1e5; size *= 10) {
    const CodedFactor coded = codes.encode(left, right, size, 1e-7 * size * size);
    // Below 2^-14 f16 keeps fewer digits; the unit of the left column makes up for it.
    EXPECT_LT(stored_error(codes, coded, left, right, size),
              size < 1e-3 ? 1e-3 * size * size : 2e-7 * size * size)
        << size;
  }
}

TEST(FactorCodes, NothingToStore) {
  const FactorCodes codes(0);
  const std::vector<float> zeros(32, 0.0f);
  for (const double allowed : {0.0, 1.0}) {
    const CodedFactor coded = codes.encode(zeros, zeros, 0, allowed);
    EXPECT_EQ(stored_error(codes, coded, zeros, zeros, 0), 0);
  }
}

Codec::Summary low_rank_of(const std::string& spec, const std::vector<float>& block, std::int64_t d) {
  const BuiltCodec built = build_codec(spec, d);
  CodecWork work;
  const std::int64_t n = std::ssize(block) / d;
  return built.codec->summary(testing_support::code(*built.codec, {block.data(), n, d}, work).bytes.data());
}

TEST(OwnWidths, ALargerComponentTakesMoreBits) {
  const std::int64_t n = 128, d = 128;
  auto block = low_rank_and_noise(n, d, 3);
  const Codec::Summary small = low_rank_of("eoptshrinkq:2", block, d);
  for (float& x : block) x += 300;
  const Codec::Summary large = low_rank_of("eoptshrinkq:2", block, d);
  EXPECT_EQ(small.rank, 3);
  EXPECT_EQ(large.rank, 4);
  EXPECT_GE(large.widths - small.widths, 12);
  EXPECT_EQ(low_rank_of("eoptshrinkq:2,factor_bits=5", block, d).widths, 4 * 5);
  EXPECT_EQ(low_rank_of("eoptshrinkq:2,paper", block, d).widths, 4 * 4);
}

// Version 0.1.0 stored all components at 3 bits and named no widths: such a block is one of today's default
// too.
TEST(OwnWidths, BlocksOfVersion010AreRead) {
  const std::int64_t n = 124;
  for (const std::int64_t d : {64, 128}) {
    const auto block = low_rank_and_noise(n, d, 9);
    CodecWork work;
    for (const KvSide side : {KvSide::keys, KvSide::values}) {
      const BuiltCodec now = build_codec("eoptshrinkq:2", d, side),
                       then = build_codec("eoptshrinkq:2,factor_bits=3", d, side);
      const auto coded = testing_support::code(*then.codec, {block.data(), n, d}, work);
      ASSERT_LT(coded.bytes[0], std::byte{0x80});
      ASSERT_TRUE(now.codec->valid(coded.bytes.data(), n, std::ssize(coded.bytes)));
      std::vector<float> rows(block.size());
      now.codec->decode(coded.bytes.data(), n, {rows.data(), n, d});
      EXPECT_EQ(rows, coded.rows);
      // The other way round is refused: a codec of one width knows no others.
      const auto own = testing_support::code(*now.codec, {block.data(), n, d}, work);
      ASSERT_GE(own.bytes[0], std::byte{0x80});
      EXPECT_FALSE(then.codec->valid(own.bytes.data(), n, std::ssize(own.bytes)));
    }
  }
}

TEST(OwnWidths, ForgedBlocksAreRefused) {
  const std::int64_t n = 128, d = 64;
  const auto block = low_rank_and_noise(n, d, 10);
  CodecWork work;
  const BuiltCodec built = build_codec("eoptshrinkq:2", d);
  const auto coded = testing_support::code(*built.codec, {block.data(), n, d}, work);
  const std::int64_t size = std::ssize(coded.bytes);
  const auto rank = static_cast<std::size_t>(coded.bytes[0] & std::byte{0x7f});
  ASSERT_GE(rank, 2u);
  ASSERT_TRUE(built.codec->valid(coded.bytes.data(), n, size));
  for (int value = 0; value < 256; ++value)
    for (std::size_t i = 0; i < rank; ++i) {
      auto forged = coded.bytes;
      forged[2 + 2 * rank + i] = static_cast<std::byte>(value);
      EXPECT_EQ(built.codec->valid(forged.data(), n, size), forged == coded.bytes) << value;
    }
  for (std::int64_t cut = 0; cut < size; ++cut) {
    std::vector<std::byte> part(coded.bytes.begin(), coded.bytes.begin() + cut);
    part.shrink_to_fit();
    EXPECT_FALSE(cut >= 2 && built.codec->valid(part.data(), n, cut));
  }
}

}  // namespace
}  // namespace spectralkv
