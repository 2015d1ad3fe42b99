// What a cache reports is what it takes from the system.
#include <gtest/gtest.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include <string>
#include <vector>

#include "base/random.h"
#include "cpp/kv/codec_cases.h"
#include "support/host_cache.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SKV_OWN_MALLOC 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SKV_OWN_MALLOC 1
#endif
#endif

namespace spectralkv {
namespace {

#if defined(__GLIBC__) && !defined(SKV_OWN_MALLOC)

std::int64_t allocated() {
  const auto info = mallinfo2();
  return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
}

// 8000 tokens of the demo model's shape, by prompts of 512.
class CacheMemory : public testing::TestWithParam<std::string> {};

TEST_P(CacheMemory, ReportsWhatItAllocates) {
  constexpr std::int64_t kHeads = 3, kDim = 64, kLayers = 30, kTokens = 8000, kBatch = 512;
  ThreadPool pool(2);
  std::vector<float> rows(kBatch * kHeads * kDim);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<float>(random_normal(1, i));
  const auto read = [&](testing_support::HostCache& cache) {
    for (std::int64_t at = 0; at < kTokens; at += kBatch) {
      const ConstMatrix x(rows.data(), std::min(kBatch, kTokens - at), kHeads * kDim);
      for (std::int64_t l = 0; l < kLayers; ++l) cache.append(l, x, x);
    }
  };
  const std::int64_t before = allocated();
  testing_support::HostCache cache({kLayers, kHeads, kDim}, 8192, GetParam(), GetParam(), pool);
  read(cache);
  const CacheReport report = cache.cache.report();
  const auto reported = static_cast<double>(report.bytes() + cache.work.bytes());
  const auto taken = static_cast<double>(allocated() - before);
  EXPECT_NEAR(reported, taken, 0.02 * taken) << reported << " bytes of " << taken << " were reported";
  EXPECT_GT(report.bytes(), 0.9 * taken) << "work space";
}

INSTANTIATE_TEST_SUITE_P(Types, CacheMemory, testing::ValuesIn(testing_support::every_codec()),
                         [](const auto& param) { return testing_support::test_name(param.param); });

#endif

}  // namespace
}  // namespace spectralkv
