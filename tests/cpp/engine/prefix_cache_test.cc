// What a request that starts from kept tokens reads is what it would have read from nothing, to the last bit.
#include "engine/prefix_cache.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/atomic_file.h"
#include "cpp/kv/codec_cases.h"
#include "engine/cache_cost.h"
#include "engine/engine.h"
#include "model/model.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kContext = 700, kBatch = 700;

class PrefixCacheTest : public testing::TestWithParam<std::string> {
 protected:
  PrefixCacheTest() {
    model_.n_heads = 2, model_.n_kv_heads = 2, model_.n_embd = 128, model_.context_length = 1024;
    engine_ =
        std::make_unique<Engine>(folder_.write("tiny.gguf", model_.bytes()), EngineOptions{.n_threads = 1});
    const ModelConfig& c = engine_->config();
    format_ = std::make_shared<const CacheFormat>(c.cache_shape(), GetParam(), GetParam());
    scratch_ = std::make_unique<Scratch>(engine_->backend(), c, kBatch, 1);
  }
  ~PrefixCacheTest() override { EXPECT_EQ(engine_->backend().sealed_bytes(), 0); }

  std::unique_ptr<KvCache> empty() { return engine_->backend().make_cache(format_, kContext); }
  // Reads what the cache does not hold yet; the logits of the last token.
  std::vector<float> read(KvCache& cache, const std::vector<Token>& tokens) {
    const auto rest = std::span(tokens).subspan(static_cast<std::size_t>(cache.n_tokens()));
    const StepPart part{&cache, rest, 1};
    engine_->model().forward(engine_->backend(), *scratch_, {&part, 1});
    const Matrix logits = scratch_->logits.rows(1);
    return {logits.row(0), logits.row(0) + logits.cols};
  }
  // The first n tokens of a text, and then others.
  std::vector<Token> text(std::int64_t n, std::int64_t others) const {
    const auto all = model_.text(2000);
    std::vector<Token> tokens(all.begin(), all.begin() + n);
    tokens.insert(tokens.end(), all.end() - others, all.end());
    return tokens;
  }
  static std::int64_t most(const std::vector<Token>& tokens) { return std::ssize(tokens) - 1; }

  test::TempFolder folder_;
  test::TinyModel model_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const CacheFormat> format_;
  std::unique_ptr<Scratch> scratch_;
};

TEST_P(PrefixCacheTest, StartsGiveTheSameBits) {
  PrefixCache kept(format_);
  const CacheLayout& layout = format_->layer(0).layout;
  // At the border where a block seals, before and behind it, and with less than a block.
  const std::int64_t border = 2 * layout.block + layout.window;
  for (const std::int64_t n : {border - 1, border, border + 1, border + 37, layout.block / 2}) {
    const auto cache = empty();
    const auto tokens = text(n, 0);
    read(*cache, tokens);
    kept.add(tokens, *cache);
  }
  int used = 0;
  for (std::int64_t shared = 10; shared <= 330; shared += 29) {
    const auto tokens = text(shared, 150);
    const PrefixCache::Found found = kept.find(tokens, most(tokens));
    EXPECT_GE(found.common, std::min(found.n, shared));
    if (found.cache == nullptr) continue;
    ++used;
    const auto cache = found.cache->fork(kContext);
    cache->truncate(found.n);
    const auto whole = empty();
    EXPECT_EQ(read(*cache, tokens), read(*whole, tokens)) << shared << " shared, started at " << found.n;
    EXPECT_EQ(cache->report().bytes(), whole->report().bytes());
    // And on, over the next block that seals.
    auto longer = text(shared, 150);
    const auto more = model_.text(200);
    longer.insert(longer.end(), more.begin(), more.end());
    EXPECT_EQ(read(*cache, longer), read(*whole, longer)) << shared << " shared, started at " << found.n;
  }
  EXPECT_GT(used, 4);
}

TEST_P(PrefixCacheTest, FindsTheLongestStartThatCanBeUsed) {
  PrefixCache kept(format_);
  EXPECT_EQ(kept.find(text(100, 0), 99).cache, nullptr);
  EXPECT_FALSE(kept.drop_oldest());
  const std::int64_t n = 2 * format_->layer(0).layout.block + format_->layer(0).layout.window + 40;
  const auto tokens = text(n, 0);
  const auto cache = empty();
  read(*cache, tokens);
  kept.add(tokens, *cache);
  // The same prompt again: all but the token that has to be read.
  EXPECT_EQ(kept.find(tokens, n - 1).n, n - 1);
  // A longer one.
  const auto longer = text(n, 50);
  EXPECT_EQ(kept.find(longer, most(longer)).n, n);
  // One that parts inside the tail.
  const auto parts = text(n - 7, 50);
  EXPECT_EQ(kept.find(parts, most(parts)).n, n - 7);
  // One that parts where the cache may not be able to go back to: what is in common is told.
  const auto early = text(130, 50);
  const PrefixCache::Found found = kept.find(early, most(early));
  EXPECT_EQ(found.n, format_->nearest_below(n, 130));
  EXPECT_EQ(found.common, 130);
  // One of other tokens, and one that is too short.
  auto other = text(n, 0);
  other[3] = other[3] == 5 ? 6 : 5;
  EXPECT_EQ(kept.find(other, most(other)).cache, nullptr);
  EXPECT_EQ(kept.find(text(20, 0), 19).cache, nullptr);
}

// An entry that another one gives is not kept twice; the one that was used longest ago goes first.
TEST_P(PrefixCacheTest, KeepsNothingNeedless) {
  PrefixCache kept(format_);
  const std::int64_t n = 2 * format_->layer(0).layout.block + format_->layer(0).layout.window;
  const auto cache = empty();
  read(*cache, text(n, 0));
  kept.add(text(n, 0), *cache);
  kept.add(text(n, 0), *cache);
  EXPECT_EQ(kept.size(), 1);
  read(*cache, text(n + 30, 0));
  kept.add(text(n + 30, 0), *cache);
  EXPECT_EQ(kept.size(), 1) << "the longer one can go back to the shorter one";
  const auto other = empty();
  read(*other, text(40, 60));
  kept.add(text(40, 60), *other);
  EXPECT_EQ(kept.size(), 2);
  std::int64_t exact = 0;
  const auto longer = text(n + 30, 10);
  EXPECT_EQ(kept.find(longer, most(longer)).n, n + 30);
  exact = kept.exact_bytes();
  EXPECT_TRUE(kept.drop_oldest());
  EXPECT_LT(kept.exact_bytes(), exact);
  EXPECT_EQ(kept.find(longer, most(longer)).n, n + 30) << "it was used last";
  EXPECT_TRUE(kept.drop_oldest());
  EXPECT_EQ(kept.exact_bytes(), 0);
  EXPECT_EQ(kept.size(), 0);
  EXPECT_EQ(kept.find(longer, most(longer)).cache, nullptr);
}

// What is kept shares its blocks, and takes no more for its tail than the tokens in it need.
TEST_P(PrefixCacheTest, TakesWhatItNeeds) {
  const std::int64_t n = 3 * format_->layer(0).layout.block + format_->layer(0).layout.window + 5;
  const auto cache = empty();
  read(*cache, text(n, 0));
  const std::int64_t sealed = engine_->backend().sealed_bytes();
  EXPECT_GT(sealed, 0);
  PrefixCache kept(format_);
  kept.add(text(n, 0), *cache);
  EXPECT_EQ(engine_->backend().sealed_bytes(), sealed);
  EXPECT_LT(kept.exact_bytes(), cache->exact_bytes());
  EXPECT_EQ(cache->report().k.exact_bytes + cache->report().v.exact_bytes, cache->exact_bytes());
  const CacheCost cost(*format_);
  EXPECT_EQ(cost.exact(kContext), cache->exact_bytes());
  EXPECT_LE(sealed, cost.most(0, n));
  EXPECT_GE(cost.longest(kContext, cost.exact(n) + cost.usual(0, n)), n);
  EXPECT_LT(cost.longest(kContext, cost.exact(n) + cost.usual(0, n) - 1), n);
}

// What memory has no room for is found in files, by another process too; what is damaged is not.
TEST_P(PrefixCacheTest, FilesOutlastMemory) {
  const std::string folder = folder_.write("x", "") + "-kept";
  std::filesystem::create_directory(folder);
  const auto files = [&](std::int64_t most = 1 << 30) {
    return std::make_unique<KeptFiles>(*engine_, format_, folder, most);
  };
  const std::int64_t n = 2 * format_->layer(0).layout.block + format_->layer(0).layout.window + 20;
  const auto tokens = text(n, 0), more = text(n, 30), other = text(60, 60);
  const auto expected = read(*empty(), more);
  {
    PrefixCache kept(format_, files());
    EXPECT_FALSE(kept.save_one());
    for (const auto& each : {tokens, other}) {
      const auto cache = empty();
      read(*cache, each);
      kept.add(each, *cache);
    }
    EXPECT_TRUE(kept.has_unsaved());
    EXPECT_TRUE(kept.save_one());
    EXPECT_EQ(kept.n_files(), 1);
    EXPECT_TRUE(kept.drop_oldest());
    EXPECT_TRUE(kept.drop_oldest());
    EXPECT_FALSE(kept.drop_oldest());
    EXPECT_EQ(kept.n_files(), 2);
    EXPECT_EQ(kept.size(), 0);
    EXPECT_EQ(kept.exact_bytes(), 0);
    EXPECT_EQ(engine_->backend().sealed_bytes(), 0);
    EXPECT_EQ(kept.find(more, most(more)).n, n);
    EXPECT_EQ(kept.size(), 1);
  }
  std::ofstream(folder + "/kept-foreign.state") << "nothing of ours";
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) left.push_back(entry.path().string());
  ASSERT_EQ(left.size(), 3u);
  {  // a writer that was killed, and one that is at work
    const std::string whole = *std::find_if(left.begin(), left.end(), [](const std::string& name) {
      return name.find("foreign") == std::string::npos;
    });
    const AtomicFile alive(whole, "test");
    const std::string dead = whole + ".tmp-0123456789abcdef";
    std::ofstream(dead) << "half";
    const auto count = [&] { return std::distance(std::filesystem::directory_iterator(folder), {}); };
    EXPECT_EQ(count(), 5);
    PrefixCache kept(format_, files());
    EXPECT_EQ(kept.n_files(), 2);
    EXPECT_FALSE(std::filesystem::exists(dead));
    EXPECT_EQ(count(), 4);
    const PrefixCache::Found found = kept.find(more, most(more));
    ASSERT_EQ(found.n, n);
    const auto cache = found.cache->fork(kContext);
    EXPECT_EQ(read(*cache, more), expected);
    EXPECT_FALSE(kept.has_unsaved());
  }
  {  // room for one file alone
    PrefixCache kept(format_, files(1));
    EXPECT_EQ(kept.n_files(), 2);
    const auto cache = empty();
    read(*cache, text(100, 0));
    kept.add(text(100, 0), *cache);
    while (kept.drop_oldest()) {
    }
    EXPECT_EQ(kept.n_files(), format_->can_go_back(n, 100) ? 2 : 0);
  }
  const auto cache = empty();
  read(*cache, tokens);
  for (const std::size_t cut : {std::size_t{0}, std::size_t{40}, std::size_t{3000}, std::size_t{1}}) {
    PrefixCache kept(format_, files());
    kept.add(tokens, *cache);
    kept.drop_oldest();
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().string().find("foreign") != std::string::npos) continue;
      if (cut == 1) {
        std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
        file << "x";
      } else {
        std::filesystem::resize_file(entry.path(), cut);
      }
    }
    PrefixCache again(format_, files());
    EXPECT_EQ(again.find(more, most(more)).n, 0) << cut;
    EXPECT_EQ(again.n_files(), 0);
    EXPECT_TRUE(std::filesystem::exists(folder + "/kept-foreign.state"));
  }
  EXPECT_THROW(KeptFiles(*engine_, format_, folder + "/none", 1), Error);
}

std::vector<std::string> types() {
  std::vector<std::string> all = {"f16", "f32", "f16;layers 1=turboquant:2,window=32,sink=4",
                                  "eoptshrinkq:2,block=64,window=0,sink=4"};
  for (const std::string& spec : testing_support::every_codec())
    if (build_codec(spec, 64).lossy) {
      all.push_back(spec);
      all.push_back(concat(spec, ",block=64,window=32,sink=4"));
    }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Types, PrefixCacheTest, testing::ValuesIn(types()),
                         [](const auto& param) { return testing_support::test_name(param.param); });

}  // namespace
}  // namespace spectralkv
