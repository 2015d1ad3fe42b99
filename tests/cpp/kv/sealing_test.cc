// What the cache seals is what its codec makes of the exact rows, whatever work space both have in hand.
#include <gtest/gtest.h>

#include <cstring>

#include "base/half.h"
#include "cpp/kv/codec_cases.h"
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
        const Codec& codec = (side == &layer.k ? layer.format->k : layer.format->v).codec();
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

}  // namespace
}  // namespace spectralkv
