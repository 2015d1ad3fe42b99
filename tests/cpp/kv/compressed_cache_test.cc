// Compressed caches cut back, forked, and given more room than there is context.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"
#include "support/host_cache.h"

namespace spectralkv::compressed_cache_test {
namespace {

using testing_support::HostCache;
using testing_support::normals;

constexpr std::int64_t kHeads = 2, kDim = 64, kTokens = 400, kWidth = kHeads * kDim;

// Reads tokens of one fixed text into a cache of two layers; gives the outputs of both.
class Reader {
 public:
  explicit Reader(ThreadPool& pool) : work_(pool, BlockPool()) {}
  std::vector<float> read(KvCache& kv, std::int64_t to) {
    auto& cache = static_cast<Cache&>(kv);
    const std::int64_t from = cache.n_tokens(), n = to - from;
    std::vector<float> out(static_cast<std::size_t>(2 * n * kWidth));
    for (std::int64_t l = 0; l < 2; ++l) {
      const auto rows = [&](const std::vector<float>& all) {
        return ConstMatrix(all.data() + from * kWidth, n, kWidth);
      };
      const Appended step(cache.layer(l), rows(k_), rows(v_), work_);
      attend(step, {kHeads, 0.125f, 0}, rows(q_), {out.data() + l * n * kWidth, n, kWidth}, work_);
    }
    return out;
  }

 private:
  CacheWork work_;
  std::vector<float> q_ = normals(1, kTokens*kWidth), k_ = normals(2, kTokens*kWidth, 2.0),
                     v_ = normals(3, kTokens*kWidth);
};

Cache make_cache(const std::string& type, std::int64_t n_ctx = kTokens, BlockPool pool = {}) {
  return Cache(std::make_shared<const CacheFormat>(CacheShape{2, kHeads, kDim}, type, type), n_ctx,
               std::move(pool));
}

std::string refusal(KvCache& cache, std::int64_t n) {
  try {
    cache.truncate(n);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::value);
    return error.what();
  }
  return "none";
}

// What is kept after a cut is what a straight reading holds; what cannot be kept is refused, with nothing
// changed, and the nearest length that is named can be kept.
TEST(CompressedCache, CutsBackToWhatAStraightReadingHolds) {
  ThreadPool pool(2);
  for (const std::string& type : testing_support::joined(
           testing_support::every_lossy_codec("block=64,window=32"),
           {"eoptshrinkq:2,block=64,window=0", "q4_0", "turboquant:2,sink=3,block=100",
            "q8_0,block=64;layers 1=f16", "eoptshrinkq:2,block=64,window=0;layers 1=q8_0,block=96"})) {
    SCOPED_TRACE(type);
    Reader reader(pool);
    Cache read = make_cache(type);
    reader.read(read, 390);
    std::int64_t kept = 0;
    for (const std::int64_t n : {1, 50, 63, 64, 65, 100, 128, 200, 256, 300, 320, 340, 352, 353, 384, 389}) {
      Cache straight = make_cache(type);
      const auto fork = read.fork(kTokens);
      KvCache& cut = *fork;
      const std::string said = refusal(cut, n);
      std::int64_t keep = n;
      if (said != "none") {
        EXPECT_EQ(cut.n_tokens(), 390);
        const std::string words = "nearest length that it can go back to is ";
        ASSERT_NE(said.find(words), std::string::npos) << said;
        keep = std::stoll(said.substr(said.find(words) + words.size()));
        ASSERT_NE(keep, n);
        cut.truncate(keep);
      }
      kept += said == "none" ? 1 : 0;
      EXPECT_EQ(cut.n_tokens(), keep);
      if (keep > 0) reader.read(straight, keep);
      const auto expected = reader.read(straight, 400), got = reader.read(cut, 400);
      EXPECT_EQ(std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)), 0) << n;
      EXPECT_EQ(straight.report().bytes(), cut.report().bytes());
    }
    EXPECT_GT(kept, 0);
  }
}

TEST(CompressedCache, AForkGoesOnAsTheOriginal) {
  ThreadPool pool(2);
  for (const std::string& type : testing_support::joined(
           testing_support::every_codec(), {"eoptshrinkq:2,block=64", "q8_0,sink=4;layers 1=f32"}))
    for (const std::int64_t n : {0, 3, 64, 250}) {
      SCOPED_TRACE(concat(type, ", ", n, " tokens"));
      Reader reader(pool);
      Cache original = make_cache(type);
      if (n > 0) reader.read(original, n);
      const auto fork = original.fork(500);
      EXPECT_EQ(fork->n_tokens(), n);
      EXPECT_EQ(fork->n_ctx(), 500);
      EXPECT_EQ(fork->report().k.sealed_bytes, original.report().k.sealed_bytes);
      const auto expected = reader.read(original, 390);  // the fork does not see this
      const auto got = reader.read(*fork, 390);
      EXPECT_EQ(std::memcmp(expected.data(), got.data(), got.size() * sizeof(float)), 0);
    }
  Reader reader(pool);
  Cache original = make_cache("q8_0");
  reader.read(original, 200);
  EXPECT_THROW(original.fork(199), Error);
}

// Sealed blocks are held once by all that share them, and go with the last one.
TEST(CompressedCache, ForksShareSealedBlocks) {
  ThreadPool threads(2);
  const BlockPool pool;
  CacheWork work(threads, pool);
  const std::string type = "eoptshrinkq:2,block=64,window=0";
  auto original = make_cache(type, kTokens, pool).fork(kTokens);
  const auto rows = normals(7, static_cast<std::size_t>(kTokens * kWidth));
  const auto append = [&](KvCache& to, std::int64_t n) {
    const ConstMatrix x(rows.data() + to.n_tokens() * kWidth, n, kWidth);
    for (std::int64_t l = 0; l < 2; ++l) const Appended step(static_cast<Cache&>(to).layer(l), x, x, work);
  };
  append(*original, 200);
  const std::int64_t held = pool.bytes();
  const CacheReport report = original->report();
  EXPECT_GE(held, report.k.sealed_bytes + report.v.sealed_bytes);
  EXPECT_LT(held, report.k.sealed_bytes + report.v.sealed_bytes + 4 * 12);  // 12 blocks, to a whole word each
  auto first = original->fork(kTokens), second = first->fork(kTokens);
  EXPECT_EQ(pool.bytes(), held);
  append(*second, 56);  // a block more, in both layers' K and V
  EXPECT_GT(pool.bytes(), held);
  original->truncate(64);
  original.reset();
  first->truncate(128);
  EXPECT_GT(pool.bytes(), held) << "the second fork still reads them";
  second.reset();
  EXPECT_LT(pool.bytes(), held);
  EXPECT_GT(pool.bytes(), 0);
  first.reset();
  EXPECT_EQ(pool.bytes(), 0);
}

// A window or a block that is longer than the context leaves all exact, and takes no memory beyond it.
TEST(CompressedCache, NoTailIsLongerThanTheContext) {
  ThreadPool pool(2);
  Reader reader(pool);
  Cache exact = make_cache("f16", 300);
  const auto expected = reader.read(exact, 300);
  for (const std::string type :
       {"eoptshrinkq:2,window=1048576", "turboquant:2,block=4096", "q8_0,window=200"}) {
    Cache cache = make_cache(type, 300);
    EXPECT_EQ(cache.report().k.exact_bytes - cache.format().layer(0).layout.sink * 2 * kWidth * 2,
              2 * 300 * kWidth * 2)
        << type;
    const auto got = reader.read(cache, 300);
    testing_support::Comparison compare(type);  // f16 in another order of sums: rows up to 5, softmax and mix
    for (std::size_t i = 0; i < got.size(); ++i)
      compare.add(static_cast<double>(got[i]), static_cast<double>(expected[i]),
                  5 * 4 * 400 * testing_support::kEps);
    EXPECT_EQ(cache.report().k.sealed_entries, 0);
  }
}

TEST(CompressedCache, ReportsNameWhatEachLayerHas) {
  const auto name = [&](const std::string& type) { return CacheFormat({6, 1, 64}, type, "f16").name_k(); };
  EXPECT_EQ(name("eoptshrinkq:2"), "eoptshrinkq:2");
  EXPECT_EQ(name("eoptshrinkq:2;layers 0-1,5=q8_0"), "eoptshrinkq:2;layers 0-1,5=q8_0");
  EXPECT_EQ(name("f16;layers 0,2-4=q8_0,sink=4;layers 5=q4_0"), "q8_0,sink=4;layers 1=f16;layers 5=q4_0");
}

}  // namespace
}  // namespace spectralkv::compressed_cache_test
