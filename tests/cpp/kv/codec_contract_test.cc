// What every codec of the table owes to attention: sizes, finite rows, and a score and a mix that equal those
// of the decoded rows.
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"
#include "formats/coded_block.h"
#include "support/random_calibration.h"

namespace spectralkv::codec_contract_test {
namespace {

using testing_support::blocks_of;
using testing_support::code;
using testing_support::Coded;
using testing_support::Comparison;
using testing_support::kEps;
using testing_support::normals;

double norm(const float* x, std::int64_t n) {
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(sum);
}

// The codec may sum its parts apart: a low-rank part and a residual, whose norms may exceed that of the row
// when they cancel, as large as the block's largest row.
double largest_norm(const std::vector<float>& rows, std::int64_t n, std::int64_t d) {
  double top = 0;
  for (std::int64_t j = 0; j < n; ++j) top = std::max(top, norm(rows.data() + j * d, d));
  return top;
}

// What codes of 2 to 4 bits lose when they are multiplied as whole numbers (kv/codecs/scalar_residual.h).
struct ByteLoss {
  double level = 0;  // the largest level and its rounding, times
  double error = 0;  // the largest row norm of a residual, which is at most twice that of a row
  double query_steps = 0, probability_steps = 0;

  ByteLoss() = default;
  ByteLoss(const std::string& spec, std::int64_t d, KvSide side, double largest_row, int least_bits = 2) {
    const auto levels = testing_support::levels_in_bytes(spec, d, least_bits);
    if (!levels) return;
    level = 2 * largest_row * (levels->top + levels->rounding);
    error = 2 * largest_row * levels->rounding;
    query_steps = side == KvSide::keys ? 127 : 0;
    probability_steps = side == KvSide::values ? 255 : 0;
  }
  // Half a step of each of n factors meets a level, and each factor meets a level's rounding.
  double of(const float* x, std::int64_t n, double steps) const {
    if (steps == 0) return 0;
    double top = 0, sum = 0;
    for (std::int64_t i = 0; i < n; ++i) {
      top = std::max(top, std::fabs(static_cast<double>(x[i])));
      sum += std::fabs(static_cast<double>(x[i]));
    }
    return sum * error + static_cast<double>(n) * top / steps / 2 * level;
  }
};

void check_products(const Codec& codec, const Coded& coded, std::int64_t n, std::int64_t m,
                    const ByteLoss& loss, CodecWork& work, const std::string& what) {
  const std::int64_t d = codec.head_dim();
  const std::byte* in = coded.bytes.data();
  const double top = largest_norm(coded.rows, n, d);
  const auto q = normals(21, static_cast<std::size_t>(m * d));
  auto p = normals(22, static_cast<std::size_t>(m * (n + 3)));  // rows of p and s stand apart
  for (float& x : p) x = std::fabs(x);
  const ConstMatrix queries(q.data(), m, d), probabilities(p.data(), m, n, n + 3);

  std::vector<float> s(static_cast<std::size_t>(m * (n + 3)), 7.0f);
  codec.score(in, n, queries, {s.data(), m, n, n + 3}, work);
  std::vector<float> acc(static_cast<std::size_t>(m * d), 0.5f);
  codec.mix(in, n, probabilities, {acc.data(), m, d}, work);

  Comparison score(what + " score"), mix(what + " mix");
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double dot = 0;
      for (std::int64_t c = 0; c < d; ++c)
        dot += static_cast<double>(q[static_cast<std::size_t>(i * d + c)]) *
               static_cast<double>(coded.rows[static_cast<std::size_t>(j * d + c)]);
      // (d + 2) roundings of a sum whose absolute terms are at most |q| |row|, for up to three parts.
      const double size = norm(q.data() + i * d, d) * top;
      score.add(static_cast<double>(s[static_cast<std::size_t>(i * (n + 3) + j)]), dot,
                3 * static_cast<double>(d + 2) * kEps * size +
                    loss.of(q.data() + i * d, d, loss.query_steps) + 1e-30);
    }
    for (std::int64_t j = n; j < n + 3 && i + 1 < m; ++j)
      EXPECT_EQ(s[static_cast<std::size_t>(i * (n + 3) + j)], 7.0f) << what << " wrote beside the scores";
    const double length = norm(p.data() + i * (n + 3), n);
    for (std::int64_t c = 0; c < d; ++c) {
      double sum = 0.5;
      for (std::int64_t j = 0; j < n; ++j)
        sum += static_cast<double>(p[static_cast<std::size_t>(i * (n + 3) + j)]) *
               static_cast<double>(coded.rows[static_cast<std::size_t>(j * d + c)]);
      const double size = length * std::sqrt(static_cast<double>(n)) * top;
      mix.add(static_cast<double>(acc[static_cast<std::size_t>(i * d + c)]), sum,
              3 * static_cast<double>(n + 2) * kEps * (size + 0.5) +
                  loss.of(p.data() + i * (n + 3), n, loss.probability_steps));
    }
  }

  // A row's result does not depend on the rows beside it.
  std::vector<float> alone(static_cast<std::size_t>(n));
  codec.score(in, n, queries.rows_range(m - 1, 1), {alone.data(), 1, n}, work);
  std::vector<float> acc_alone(static_cast<std::size_t>(d), 0.5f);
  codec.mix(in, n, probabilities.rows_range(m - 1, 1), {acc_alone.data(), 1, d}, work);
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), s.begin() + (m - 1) * (n + 3)))
      << what << ": score of one row";
  EXPECT_TRUE(std::equal(acc_alone.begin(), acc_alone.end(), acc.begin() + (m - 1) * d))
      << what << ": mix of one row";
}

class Contract : public testing::TestWithParam<std::string> {
 protected:
  static std::vector<std::pair<std::int64_t, KvSide>> cases() {
    std::vector<std::pair<std::int64_t, KvSide>> all;
    for (const std::int64_t d : testing_support::kHeadDims)
      for (const KvSide side : {KvSide::keys, KvSide::values}) all.emplace_back(d, side);
    return all;
  }
};

TEST_P(Contract, ScoreAndMixEqualTheDecodedRows) {
  CodecWork work;
  for (const auto& [d, side] : cases()) {
    const BuiltCodec built = build_codec(GetParam(), d, side);
    EXPECT_EQ(built.codec->head_dim(), d);
    for (const std::int64_t n : testing_support::kTokenCounts)
      for (const auto& block : blocks_of(n, d)) {
        const std::string what = concat(GetParam(), side == KvSide::keys ? " keys" : " values", " d=", d,
                                        " n=", n, " ", block.name);
        const ByteLoss loss(built.text, d, side, largest_norm(block.values, n, d));
        const Coded coded = code(*built.codec, {block.values.data(), n, d}, work);
        ASSERT_TRUE(std::all_of(coded.rows.begin(), coded.rows.end(), [](float x) {
          return std::isfinite(x);
        })) << what;
        EXPECT_GE(
            built.codec->paper_bits(coded.bytes.data(), n, static_cast<std::int64_t>(coded.bytes.size())),
            static_cast<double>(n * d));
        for (const std::int64_t m : {std::int64_t{1}, std::int64_t{3}, std::int64_t{11}})
          check_products(*built.codec, coded, n, m, loss, work, what + concat(" m=", m));
      }
  }
}

TEST_P(Contract, CodecSpaceIsATurnOfHeadSpace) {
  for (const std::int64_t d : testing_support::kHeadDims) {
    const BuiltCodec built = build_codec(GetParam(), d);
    const std::int64_t m = 5;
    const auto x = normals(31, static_cast<std::size_t>(m * d));
    std::vector<float> turned(x.size()), back(x.size());
    built.codec->enter({x.data(), m, d}, {turned.data(), m, d});
    built.codec->leave({turned.data(), m, d}, {back.data(), m, d});
    Comparison compare(concat(GetParam(), " d=", d, " leave(enter(x))"));
    for (std::int64_t r = 0; r < m; ++r) {
      const double size = norm(x.data() + r * d, d);
      EXPECT_NEAR(norm(turned.data() + r * d, d), size, 1e-5 * size);
      for (std::int64_t c = 0; c < d; ++c)
        compare.add(static_cast<double>(back[static_cast<std::size_t>(r * d + c)]),
                    static_cast<double>(x[static_cast<std::size_t>(r * d + c)]),
                    2 * static_cast<double>(d + 2) * kEps * size);
    }
  }
}

TEST_P(Contract, SpecsRoundTrip) {
  for (const std::int64_t d : testing_support::kHeadDims) {
    const BuiltCodec built = build_codec(GetParam(), d);
    EXPECT_EQ(built.text, built.codec->spec());
    const BuiltCodec again = build_codec(built.codec->spec(), d);
    EXPECT_EQ(again.text, built.text);
    EXPECT_EQ(again.layout, built.layout);
    EXPECT_EQ(again.lossy, built.lossy);
    // The same bytes, too.
    CodecWork work;
    const auto block = testing_support::low_rank_and_noise(128, d, 4);
    EXPECT_EQ(code(*built.codec, {block.data(), 128, d}, work).bytes,
              code(*again.codec, {block.data(), 128, d}, work).bytes);
  }
}

// Scaling a block by a power of two scales what comes back, from 1e-6 to 1e4: no number of the format leaves
// its range.
TEST_P(Contract, NoLossBeyondTheRangeOfF16) {
  const std::int64_t n = 128, d = 64;
  const auto block = testing_support::low_rank_and_noise(n, d, 4);
  const double plain = testing_support::relative_error(GetParam(), n, d, block);
  for (const float scale : {0x1p-6f, 0x1p11f}) {
    auto scaled = block;
    for (float& x : scaled) x *= scale;
    EXPECT_NEAR(testing_support::relative_error(GetParam(), n, d, scaled), plain, 1e-3 * plain + 1e-7)
        << scale;
  }
}

// With all that a calibration brings: a metric, a width of the head's own, and rows with a second stage,
// which come back nearer to what they were.
TEST(CalibratedContract, ScoreAndMixEqualTheDecodedRows) {
  CodecWork work;
  const std::vector<std::uint16_t> drawn = {0, 3, 7, 30};
  for (const std::int64_t d : testing_support::kHeadDims) {
    const HeadCalibration head = testing_support::random_head(d, 2, 40);
    for (const KvSide side : {KvSide::keys, KvSide::values})
      for (const int width : {1, 2, 3, 4, 5})
        for (const std::int64_t n : {std::int64_t{31}, std::int64_t{124}})
          for (const auto& block : blocks_of(n, d)) {
            const std::string what =
                concat("eoptshrinkq at ", width, side == KvSide::keys ? " keys" : " values", " d=", d,
                       " n=", n, " ", block.name);
            const BuiltCodec built = build_codec("eoptshrinkq:2.5", {d, side, &head, width});
            SealContext context;
            context.side = side;
            context.drawn = drawn;
            const Coded coded = code(*built.codec, {block.values.data(), n, d}, work, context);
            ASSERT_TRUE(built.codec->valid(coded.bytes.data(), n, std::ssize(coded.bytes))) << what;
            // In codec space, where a stretch makes rows longer.
            const double longest = largest_norm(coded.rows, n, d);
            const ByteLoss loss(concat("eoptshrinkq:", width), d, side, longest, 1);
            check_products(*built.codec, coded, n, 3, loss, work, what);
          }
  }
}

TEST(CalibratedContract, EnterMeetsLeave) {
  for (const std::int64_t d : testing_support::kHeadDims) {
    const HeadCalibration head = testing_support::random_head(d, 2, 41);
    const BuiltCodec built = build_codec("eoptshrinkq:2", {d, KvSide::keys, &head, 2});
    const std::int64_t m = 5;
    const auto q = normals(31, static_cast<std::size_t>(m * d)),
               y = normals(32, static_cast<std::size_t>(m * d));
    std::vector<float> entered(q.size()), left(y.size());
    built.codec->enter({q.data(), m, d}, {entered.data(), m, d});
    built.codec->leave({y.data(), m, d}, {left.data(), m, d});
    std::vector<float> axes(static_cast<std::size_t>(d * d)), matrix(axes.size());
    for (std::int64_t i = 0; i < d; ++i) axes[static_cast<std::size_t>(i * d + i)] = 1;
    built.codec->enter({axes.data(), d, d}, {matrix.data(), d, d});
    const double length = norm(matrix.data(), d * d);  // |E|
    for (std::int64_t r = 0; r < m; ++r) {
      double in_codec_space = 0, in_head_space = 0;
      for (std::int64_t c = 0; c < d; ++c) {
        const auto i = static_cast<std::size_t>(r * d + c);
        in_codec_space += static_cast<double>(entered[i]) * static_cast<double>(y[i]);
        in_head_space += static_cast<double>(q[i]) * static_cast<double>(left[i]);
      }
      // Both sums have d terms for each entry of the matrix E that enters, and d more.
      const double size = norm(q.data() + r * d, d) * length * norm(y.data() + r * d, d);
      EXPECT_NEAR(in_codec_space, in_head_space, 2 * static_cast<double>(d + 2) * kEps * size);
    }
  }
}

TEST(CalibratedContract, DrawnRowsComeBackNearer) {
  constexpr std::int64_t kDim = 64, kTokens = 128;
  const auto block = testing_support::low_rank_and_noise(kTokens, kDim, 4);
  const std::vector<std::uint16_t> drawn = {2, 50, 127};
  CodecWork work;
  for (const KvSide side : {KvSide::keys, KvSide::values}) {
    const BuiltCodec built = build_codec("eoptshrinkq:2", kDim, side);
    const auto error_of = [&](std::span<const std::uint16_t> rows) {
      SealContext context;
      context.drawn = rows;
      const Coded coded = code(*built.codec, {block.data(), kTokens, kDim}, work, context);
      std::vector<float> back(block.size());
      built.codec->leave({coded.rows.data(), kTokens, kDim}, {back.data(), kTokens, kDim});
      std::vector<double> errors;
      for (std::int64_t t = 0; t < kTokens; ++t) {
        double sum = 0;
        for (std::int64_t c = 0; c < kDim; ++c) {
          const auto i = static_cast<std::size_t>(t * kDim + c);
          sum += std::pow(static_cast<double>(block[i]) - static_cast<double>(back[i]), 2);
        }
        errors.push_back(sum);
      }
      return errors;
    };
    const auto with = error_of(drawn), without = error_of({});
    double left = 0, had = 0;
    for (std::size_t t = 0; t < kTokens; ++t) {
      if (std::find(drawn.begin(), drawn.end(), t) == drawn.end()) {
        EXPECT_NEAR(with[t], without[t], 1e-6 * without[t]) << t;
        continue;
      }
      left += with[t];
      had += without[t];
    }
    // 4 bits leave .0095 of a Gaussian row; what a codebook leaves is none, and three rows are few.
    EXPECT_LT(left, 3 * shared_unit_codebook(kDim, kSkvSecondBits).distortion * had);
    EXPECT_GT(left, 0);
  }
}

// Blocks that lie about their rows.
TEST(CalibratedContract, LiesAreNotValid) {
  constexpr std::int64_t kDim = 64, kTokens = 128;
  const auto block = testing_support::low_rank_and_noise(kTokens, kDim, 4);
  const std::vector<std::uint16_t> drawn = {2, 50};
  CodecWork work;
  SealContext context;
  context.drawn = drawn;
  const BuiltCodec built = build_codec("eoptshrinkq:2", kDim),
                   none = build_codec("eoptshrinkq:2,rows=0", kDim);
  const Coded coded = code(*built.codec, {block.data(), kTokens, kDim}, work, context);
  const auto size = std::ssize(coded.bytes);
  EXPECT_TRUE(built.codec->valid(coded.bytes.data(), kTokens, size));
  EXPECT_FALSE(none.codec->valid(coded.bytes.data(), kTokens, size)) << "a codec without a second stage";
  EXPECT_FALSE(built.codec->valid(coded.bytes.data(), kTokens, size - 2));
  for (const int count : {0, 1, 3, 4, 5, 255}) {
    auto bytes = coded.bytes;
    bytes[2] = static_cast<std::byte>(count);
    EXPECT_FALSE(built.codec->valid(bytes.data(), kTokens, size)) << count;
  }
  const auto* const start = reinterpret_cast<const std::uint8_t*>(coded.bytes.data());
  const std::size_t second = skv_low_rank_part(kDim, kTokens, skv_factors(3, start)).second;
  auto bytes = coded.bytes;
  bytes[second] = std::byte{128};  // the first of the tokens
  EXPECT_FALSE(built.codec->valid(bytes.data(), kTokens, size));
}

INSTANTIATE_TEST_SUITE_P(Codecs, Contract, testing::ValuesIn(testing_support::all_specs()),
                         [](const auto& param) { return testing_support::test_name(param.param); });

}  // namespace
}  // namespace spectralkv::codec_contract_test
