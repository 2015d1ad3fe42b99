// A quantiser that is no row of the table, behind the codec of low-rank parts: what it gets, and what becomes
// of what it says.
#include "kv/codecs/residual_quantiser.h"

#include <gtest/gtest.h>

#include <cstring>

#include "cpp/kv/codec_cases.h"
#include "kv/codecs/eoptshrinkq.h"
#include "kv/codecs/residual_choice.h"

namespace spectralkv::residual_quantiser_test {
namespace {

using testing_support::low_rank_and_noise;
using testing_support::normals;
using testing_support::relative_error;

// Entries in f32 without the rows of zeros at the end: [rows, 2 bytes], then the rows.
class PlainResidual final : public ResidualQuantiser {
 public:
  PlainResidual(std::int64_t head_dim, std::vector<SealContext>& seen) : d_(head_dim), seen_(seen) {}

  std::int64_t max_bytes(std::int64_t n) const override { return 2 + 4 * n * d_; }
  std::int64_t encode(ConstMatrix rows, const SealContext& context, std::byte* out,
                      CodecWork&) const override {
    seen_.push_back(context);
    std::int64_t n = rows.rows;
    while (n > 0 && std::all_of(rows.row(n - 1), rows.row(n - 1) + d_, [](float x) { return x == 0; })) --n;
    const auto count = static_cast<std::uint16_t>(n);
    std::memcpy(out, &count, 2);
    for (std::int64_t t = 0; t < n; ++t)
      std::memcpy(out + 2 + 4 * t * d_, rows.row(t), static_cast<std::size_t>(4 * d_));
    return max_bytes(n);
  }
  void decode(const std::byte* in, std::int64_t n, float unit, Matrix out) const override {
    const std::int64_t held = rows_in(in);
    for (std::int64_t t = 0; t < n; ++t)
      for (std::int64_t c = 0; c < d_; ++c) {
        float x = 0;
        if (t < held) std::memcpy(&x, in + 2 + 4 * (t * d_ + c), 4);
        out(t, c) = unit * x;
      }
  }
  bool valid(const std::byte* in, std::int64_t n, std::int64_t bytes) const override {
    return bytes >= 2 && rows_in(in) <= n && bytes == max_bytes(rows_in(in));
  }
  double paper_bits(const std::byte*, std::int64_t, std::int64_t bytes) const override {
    return 8.0 * static_cast<double>(bytes - 2);
  }
  double distortion() const override { return 0; }

 private:
  static std::int64_t rows_in(const std::byte* in) {
    std::uint16_t count = 0;
    std::memcpy(&count, in, 2);
    return count;
  }
  std::int64_t d_;
  std::vector<SealContext>& seen_;
};

constexpr std::int64_t kTokens = 128, kDim = 64;

std::unique_ptr<Codec> plain_codec(bool factor, bool closed_loop, std::vector<SealContext>& seen) {
  EOptShrinkQOptions options;
  options.factor = factor;
  options.factor_bits = 2;
  options.closed_loop = closed_loop;
  return make_eoptshrinkq_codec(kDim, options, {}, std::make_unique<PlainResidual>(kDim, seen), "plain");
}

// A residual without loss: in a closed loop it holds what coarse factors miss, in an open one it does not.
TEST(ResidualQuantiser, TheLoopGoesThroughIt) {
  std::vector<SealContext> seen;
  const auto block = low_rank_and_noise(kTokens, kDim, 12);
  EXPECT_LT(relative_error(*plain_codec(false, true, seen), kTokens, block), 1e-11);
  EXPECT_LT(relative_error(*plain_codec(true, true, seen), kTokens, block), 1e-11);
  EXPECT_GT(relative_error(*plain_codec(true, false, seen), kTokens, block), 1e-2);
}

TEST(ResidualQuantiser, BytesBitsAndProductsAreItsOwn) {
  std::vector<SealContext> seen;
  auto block = normals(13, static_cast<std::size_t>(kTokens * kDim));
  std::fill(block.begin() + 100 * kDim, block.end(), 0.0f);
  const auto codec = plain_codec(false, true, seen);
  CodecWork work;
  const auto coded = testing_support::code(*codec, {block.data(), kTokens, kDim}, work);
  const std::int64_t size = std::ssize(coded.bytes);
  EXPECT_EQ(size, 2 + 2 + 4 * 100 * kDim);
  EXPECT_EQ(codec->max_bytes(kTokens), 2 + 2 + 4 * kTokens * kDim);
  EXPECT_EQ(codec->paper_bits(coded.bytes.data(), kTokens, size), 32.0 * 100 * kDim);
  EXPECT_TRUE(codec->valid(coded.bytes.data(), kTokens, size));
  EXPECT_FALSE(codec->valid(coded.bytes.data(), kTokens, size - 2));
  EXPECT_FALSE(codec->valid(coded.bytes.data(), 99, size));
  EXPECT_EQ(codec->form().kind, CodecForm::Kind::other);  // no device knows it

  const auto q = normals(14, kDim);
  std::vector<float> s(kTokens), acc(kDim, 0.0f);
  const std::vector<float> p(kTokens, 0.5f);
  codec->score(coded.bytes.data(), kTokens, ConstMatrix(q.data(), 1, kDim), {s.data(), 1, kTokens}, work);
  codec->mix(coded.bytes.data(), kTokens, {p.data(), 1, kTokens}, {acc.data(), 1, kDim}, work);
  for (std::int64_t t = 0; t < kTokens; ++t) {
    double dot = 0;
    for (std::int64_t c = 0; c < kDim; ++c)
      dot += static_cast<double>(q[static_cast<std::size_t>(c)]) *
             static_cast<double>(coded.rows[static_cast<std::size_t>(t * kDim + c)]);
    EXPECT_NEAR(static_cast<double>(s[static_cast<std::size_t>(t)]), dot, 1e-4);
  }
  for (std::int64_t c = 0; c < kDim; ++c) {
    double sum = 0;
    for (std::int64_t t = 0; t < kTokens; ++t)
      sum += 0.5 * static_cast<double>(coded.rows[static_cast<std::size_t>(t * kDim + c)]);
    EXPECT_NEAR(static_cast<double>(acc[static_cast<std::size_t>(c)]), sum, 1e-4);
  }
}

// Blocks that are sealed together, of two lengths: each arrives with its own context, and becomes what it
// becomes alone.
TEST(ResidualQuantiser, EachBlockComesWithItsContext) {
  std::vector<SealContext> seen;
  const auto codec = plain_codec(true, true, seen);
  const std::int64_t lengths[] = {124, 124, 128, 128, 128};
  const auto values = low_rank_and_noise(5 * kTokens, kDim, 15);
  std::vector<std::vector<std::byte>> out(
      5, std::vector<std::byte>(static_cast<std::size_t>(codec->max_bytes(kTokens))));
  std::vector<SealItem> items;
  for (std::int64_t i = 0; i < 5; ++i)
    items.push_back({codec.get(),
                     {values.data() + i * kTokens * kDim, lengths[i], kDim},
                     {7, i % 2, 100 * i, KvSide::values, {}},
                     out[static_cast<std::size_t>(i)].data()});
  CodecWork work;
  codec->encode_all(items, work);
  ASSERT_EQ(seen.size(), 5u);
  std::vector<std::byte> alone(out[0].size());
  for (std::size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(seen[i].layer, 7);
    EXPECT_EQ(seen[i].kv_head, static_cast<std::int64_t>(i % 2));
    EXPECT_EQ(seen[i].first, static_cast<std::int64_t>(100 * i));
    EXPECT_EQ(seen[i].side, KvSide::values);
    const std::int64_t used = codec->encode(items[i].rows, items[i].context, alone.data(), work);
    ASSERT_EQ(used, items[i].used);
    EXPECT_TRUE(std::equal(alone.begin(), alone.begin() + used, out[i].begin()));
  }
}

// A head whose width the trellis does not have gets scalar codes of that width.
TEST(ResidualQuantiser, AWidthThatAQuantiserLacksIsScalar) {
  const auto noise = normals(16, static_cast<std::size_t>(kTokens * kDim));
  CodecWork work;
  for (const int bits : {1, 2, 3, 4, 5})
    for (const KvSide side : {KvSide::keys, KvSide::values}) {
      EXPECT_TRUE(has_width(Quantiser::scalar, bits));
      EXPECT_EQ(has_width(Quantiser::trellis, bits), bits == 2);
      const auto trellis = make_residual(Quantiser::trellis, kDim, bits, RowScales{RowScale::length}, side),
                 scalar = make_residual(Quantiser::scalar, kDim, bits, RowScales{RowScale::length}, side);
      const std::int64_t size = scalar->max_bytes(kTokens);
      ASSERT_EQ(trellis->max_bytes(kTokens), size);
      std::vector<std::byte> one(static_cast<std::size_t>(size)), other(one.size());
      EXPECT_EQ(trellis->encode({noise.data(), kTokens, kDim}, {}, one.data(), work), size);
      EXPECT_EQ(scalar->encode({noise.data(), kTokens, kDim}, {}, other.data(), work), size);
      EXPECT_EQ(one == other, bits != 2) << bits << " bits";
      EXPECT_EQ(trellis->paper_bits(one.data(), kTokens, size), bits * kTokens * kDim);
    }
}

// White noise at two bits: what each loses of it, and that what it says of itself is so.
TEST(ResidualQuantiser, TheTrellisLosesAThirdLess) {
  CodecWork work;
  for (const std::int64_t d : {64, 128, 80})
    for (const std::int64_t n : {128, 124, 60})
      for (const KvSide side : {KvSide::keys, KvSide::values})
        for (const Quantiser quantiser : kAllQuantisers) {
          const auto residual =
              make_residual(quantiser, d, 2, RowScales{RowScale::least_squares, true}, side);
          double error = 0, all = 0;
          for (std::uint64_t seed = 0; seed < 4; ++seed) {
            const auto noise = normals(17 + seed, static_cast<std::size_t>(n * d));
            std::vector<std::byte> bytes(static_cast<std::size_t>(residual->max_bytes(n)));
            std::vector<float> back(noise.size());
            residual->encode({noise.data(), n, d}, {}, bytes.data(), work);
            residual->decode(bytes.data(), n, 1, {back.data(), n, d});
            for (std::size_t i = 0; i < noise.size(); ++i) {
              const double x = static_cast<double>(noise[i]), e = x - static_cast<double>(back[i]);
              error += e * e;
              all += x * x;
            }
          }
          EXPECT_NEAR(error / all, residual->distortion(), 0.04 * residual->distortion())
              << quantiser_name(quantiser) << ", " << n << " tokens of " << d;
        }
}

}  // namespace
}  // namespace spectralkv::residual_quantiser_test
