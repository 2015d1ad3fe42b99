// What the cache seals is what its codec makes of the exact rows, whatever work space both have in hand.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <tuple>
#include <vector>

#include "base/half.h"
#include "cpp/kv/codec_cases.h"
#include "kv/codecs/exact.h"
#include "support/host_cache.h"

namespace spectralkv {
namespace {

using testing_support::normals;

class Sealing : public testing::TestWithParam<std::string> {};

TEST_P(Sealing, BlocksAreWhatTheCodecMakes) {
  constexpr std::int64_t kHeads = 3, kDim = 64, kTokens = 700, kWidth = kHeads * kDim;
  ThreadPool pool(2);
  testing_support::HostCache cache({1, kHeads, kDim}, kTokens, GetParam(), GetParam(), pool);
  const auto k = normals(5, static_cast<std::size_t>(kTokens * kWidth)),
             v = normals(6, static_cast<std::size_t>(kTokens * kWidth));
  cache.append(0, {k.data(), kTokens, kWidth}, {v.data(), kTokens, kWidth});

  const LayerStore& layer = cache.cache.layer(0);
  ASSERT_FALSE(layer.k.blocks.empty());
  const bool halves = !layer.format->k.exact_f32();
  CodecWork work;
  for (const auto& [side, from] : {std::pair(&layer.k, &k), std::pair(&layer.v, &v)})
    for (std::size_t b = 0; b < side->blocks.size(); ++b)
      for (std::int64_t h = 0; h < kHeads; ++h) {
        const auto at = static_cast<std::int64_t>(b);
        const std::int64_t n = layer.format->layout.block_tokens(at),
                           first = layer.format->layout.block_begin(at);
        std::vector<float> rows(static_cast<std::size_t>(n * kDim));
        for (std::int64_t t = 0; t < n; ++t)
          for (std::int64_t c = 0; c < kDim; ++c) {
            const float x = (*from)[static_cast<std::size_t>((first + t) * kWidth + h * kDim + c)];
            rows[static_cast<std::size_t>(t * kDim + c)] = halves ? skv_f16_to_f32(skv_f32_to_f16(x)) : x;
          }
        const Codec& codec = (side == &layer.k ? layer.format->k : layer.format->v).codec(h);
        std::vector<std::byte> expected(static_cast<std::size_t>(codec.max_bytes(n)));
        expected.resize(
            static_cast<std::size_t>(codec.encode({rows.data(), n, kDim}, {}, expected.data(), work)));
        const auto sealed = side->blocks[b].head(static_cast<std::size_t>(h));
        ASSERT_EQ(sealed.size(), expected.size());
        ASSERT_EQ(std::memcmp(sealed.data(), expected.data(), expected.size()), 0)
            << GetParam() << ": block " << b << ", KV head " << h;
      }
}

INSTANTIATE_TEST_SUITE_P(Codecs, Sealing, testing::ValuesIn(testing_support::all_specs()),
                         [](const auto& param) { return testing_support::test_name(param.param); });

// Blocks as f32 stores them, and where their rows were said to come from.
class Recorder final : public Codec {
 public:
  struct Seen {
    SealContext context;
    std::int64_t n;
    float first, last;  // values of the block
  };
  Recorder(std::int64_t head_dim, std::vector<Seen>& seen)
      : Codec(head_dim), exact_(make_f32_codec(head_dim)), seen_(seen) {}
  std::string spec() const override { return "recorder"; }
  std::int64_t max_bytes(std::int64_t n) const override { return exact_->max_bytes(n); }
  std::int64_t encode(ConstMatrix block, const SealContext& context, std::byte* out,
                      CodecWork& work) const override {
    seen_.push_back({context, block.rows, block(0, 0), block(block.rows - 1, block.cols - 1)});
    return exact_->encode(block, context, out, work);
  }
  void decode(const std::byte* in, std::int64_t n, Matrix out) const override { exact_->decode(in, n, out); }
  double paper_bits(const std::byte* in, std::int64_t n, std::int64_t bytes) const override {
    return exact_->paper_bits(in, n, bytes);
  }

 private:
  std::unique_ptr<Codec> exact_;
  std::vector<Seen>& seen_;
};

TEST(SealingContext, IsWhereTheRowsComeFrom) {
  constexpr std::int64_t kHeads = 2, kDim = 16, kBlock = 32, kSink = 3, kTokens = 100, kLayer = 5;
  std::vector<Recorder::Seen> seen;
  const auto exact = make_f32_codec(kDim);
  LayerFormat format;
  format.layer = kLayer;
  format.n_kv_heads = kHeads;
  format.head_dim = kDim;
  format.layout = {kBlock, kSink, 0};
  format.lossy = true;
  format.k.heads.push_back({std::make_unique<Recorder>(kDim, seen), true, format.layout, ""});
  format.v.heads.push_back({std::make_unique<Recorder>(kDim, seen), true, format.layout, ""});
  format.k.exact = format.v.exact = exact.get();

  // A value says which side, head and token it is of.
  const auto value = [](KvSide side, std::int64_t head, std::int64_t token) {
    return static_cast<float>(10000 * (side == KvSide::values ? 2 : 1) + 1000 * head + token);
  };
  ThreadPool pool(1);
  CacheWork work(pool, BlockPool());
  LayerStore store(format, kTokens);
  for (std::int64_t from = 0; from < kTokens; from += 50) {
    std::vector<float> rows[2];
    for (const KvSide side : {KvSide::keys, KvSide::values})
      for (std::int64_t t = from; t < from + 50; ++t)
        for (std::int64_t h = 0; h < kHeads; ++h)
          rows[side == KvSide::keys ? 0 : 1].insert(rows[side == KvSide::keys ? 0 : 1].end(), kDim,
                                                    value(side, h, t));
    const Appended step(store, {rows[0].data(), 50, kHeads * kDim}, {rows[1].data(), 50, kHeads * kDim},
                        work);
  }
  ASSERT_EQ(seen.size(), 3u * kHeads * 2);
  std::set<std::tuple<KvSide, std::int64_t, std::int64_t>> all;
  for (const Recorder::Seen& block : seen) {
    const SealContext& c = block.context;
    all.insert({c.side, c.kv_head, c.first});
    EXPECT_EQ(c.layer, kLayer);
    EXPECT_EQ(block.first, value(c.side, c.kv_head, c.first));
    EXPECT_EQ(block.last, value(c.side, c.kv_head, c.first + block.n - 1));
    EXPECT_EQ(block.n, c.first == kSink ? kBlock - kSink : kBlock);
  }
  EXPECT_EQ(all.size(), seen.size()) << "two blocks say that they are the same";
}

}  // namespace
}  // namespace spectralkv
