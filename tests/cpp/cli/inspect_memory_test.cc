// What `inspect` and the log say of a cache's memory, against caches that were filled.
#include "cli/inspect_memory.h"

#include <gtest/gtest.h>

#include "engine/engine.h"
#include "kv/cache_estimate.h"
#include "support/compare.h"
#include "support/host_cache.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

TEST(InspectMemory, BoundsHoldWhatAFullCacheTakes) {
  constexpr std::int64_t kWidth = 3 * 64;
  ThreadPool pool(2);
  for (const std::int64_t n_ctx : {40, 128, 200, 500}) {
    const auto rows = testing_support::normals(1, static_cast<std::size_t>(n_ctx * kWidth));
    const auto types = estimate_caches({2, 3, 64}, n_ctx);
    EXPECT_GE(types.size(), 9u);
    EXPECT_EQ(types[0].type, "default");
    EXPECT_EQ(types[0].name, kDefaultCodec);
    for (const TypeMemory& type : types) {
      testing_support::HostCache cache({2, 3, 64}, n_ctx, type.type, type.type, pool);
      const ConstMatrix x(rows.data(), n_ctx, kWidth);
      for (std::int64_t l = 0; l < 2; ++l) cache.append(l, x, x);
      EXPECT_LE(type.least, cache.cache.report().bytes()) << type.type << ", " << n_ctx;
      EXPECT_GE(type.most, cache.cache.report().bytes()) << type.type << ", " << n_ctx;
    }
  }
}

TEST(CacheEstimate, IsWhatAFullSessionHolds) {
  const test::TempFolder folder;
  const test::TinyModel model;
  Engine engine(folder.write("tiny.gguf", model.bytes()), EngineOptions{.n_threads = 1});
  for (const char* type : {"f16", "q8_0,sink=4", "turboquant:3,window=100,sink=5", "q4_0;layers 1=f32"})
    for (const std::int64_t n_ctx : {50, 300, 512}) {
      Session session(engine, SessionOptions{.n_ctx = n_ctx, .type_k = type, .type_v = type});
      const CacheEstimate estimate = estimate_cache(session.cache().format(), n_ctx);
      session.eval(model.text(static_cast<std::size_t>(n_ctx)));
      EXPECT_EQ(estimate.least, session.cache_report().bytes()) << type << ", " << n_ctx;
      EXPECT_EQ(estimate.most, estimate.least);
      EXPECT_FALSE(estimate.at_least());
    }
  Session any(engine, SessionOptions{.n_ctx = 512});  // no loop over its blocks
  EXPECT_GT(estimate_cache(any.cache().format(), std::int64_t{1} << 31).least, std::int64_t{1} << 30);
}

}  // namespace
}  // namespace spectralkv
