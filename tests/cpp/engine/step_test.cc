// A step over many sequences: what each gets is what it gets alone, to the last bit, whatever stands beside
// it.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "cpp/kv/codec_cases.h"
#include "engine/engine.h"
#include "kv/cache.h"
#include "model/model.h"
#include "support/tiny_model.h"

namespace spectralkv::step_test {
namespace {

constexpr std::int64_t kContext = 200, kBatch = 256;

struct StepCase {
  const char* type;
  std::string arch = "llama";  // a row of tiny_architectures()
};

class StepTest : public testing::TestWithParam<StepCase> {
 protected:
  explicit StepTest() {
    model_.arch = GetParam().arch;
    model_.n_heads = 4, model_.n_kv_heads = 2, model_.n_embd = 256;
    engine_ =
        std::make_unique<Engine>(folder_.write("tiny.gguf", model_.bytes()), EngineOptions{.n_threads = 2});
    const ModelConfig& c = engine_->config();
    format_ = std::make_shared<const CacheFormat>(c.cache_shape(), GetParam().type, GetParam().type);
    scratch_ = std::make_unique<Scratch>(engine_->backend(), c, kBatch, kBatch);
    // Texts with nothing in common.
    const auto all = model_.text(8 * kContext);
    for (std::size_t s = 0; s < 8; ++s)
      texts_.emplace_back(all.begin() + static_cast<std::ptrdiff_t>(s * kContext),
                          all.begin() + static_cast<std::ptrdiff_t>((s + 1) * kContext));
  }

  std::unique_ptr<KvCache> cache() { return engine_->backend().make_cache(format_, kContext); }
  std::span<const Token> text(std::size_t s, std::int64_t from, std::int64_t n) const {
    return std::span(texts_[s]).subspan(static_cast<std::size_t>(from), static_cast<std::size_t>(n));
  }
  // The logits of a step, a row for each that is wanted.
  std::vector<std::vector<float>> run(const std::vector<StepPart>& step) {
    engine_->model().forward(engine_->backend(), *scratch_, step);
    std::vector<std::vector<float>> rows;
    std::int64_t n = 0;
    for (const StepPart& part : step) n += part.n_logits;
    const Matrix logits = scratch_->logits.rows(n);
    for (std::int64_t r = 0; r < n; ++r) rows.emplace_back(logits.row(r), logits.row(r) + logits.cols);
    return rows;
  }

  test::TempFolder folder_;
  test::TinyModel model_;
  std::unique_ptr<Engine> engine_;
  std::shared_ptr<const CacheFormat> format_;
  std::unique_ptr<Scratch> scratch_;
  std::vector<std::vector<Token>> texts_;
};

// Prompts that end, prompts in their middle and single tokens, in several orders and lengths, over blocks
// that seal.
TEST_P(StepTest, NeighboursChangeNothing) {
  struct Piece {
    std::size_t sequence;
    std::int64_t n, n_logits;
  };
  const std::vector<std::vector<Piece>> steps = {
      {{0, 100, 1}},
      {{1, 3, 3}, {0, 1, 1}, {2, 120, 0}},
      {{2, 40, 2}, {0, 1, 1}, {3, 1, 1}, {1, 60, 0}, {4, 1, 1}},
      {{0, 1, 1}, {1, 1, 1}, {2, 1, 1}, {3, 1, 1}, {4, 1, 1}, {5, 1, 1}, {6, 1, 1}, {7, 1, 1}},
      {{7, 130, 0}, {6, 90, 0}},
      {{5, 150, 150}, {0, 30, 1}},
      {{7, 1, 1}, {6, 1, 1}, {5, 1, 1}, {4, 1, 0}, {3, 1, 1}, {2, 1, 1}, {1, 1, 1}, {0, 1, 1}},
  };
  std::vector<std::unique_ptr<KvCache>> together, alone;
  for (int s = 0; s < 8; ++s) together.push_back(cache()), alone.push_back(cache());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    std::vector<StepPart> step;
    std::vector<std::vector<float>> expected;
    for (const Piece& piece : steps[i]) {
      const auto tokens = text(piece.sequence, together[piece.sequence]->n_tokens(), piece.n);
      step.push_back({together[piece.sequence].get(), tokens, piece.n_logits});
      for (auto& row : run({{alone[piece.sequence].get(), tokens, piece.n_logits}}))
        expected.push_back(std::move(row));
    }
    const auto got = run(step);
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t r = 0; r < got.size(); ++r)
      EXPECT_EQ(std::memcmp(got[r].data(), expected[r].data(), got[r].size() * sizeof(float)), 0)
          << "step " << i << ", row " << r;
  }
  for (std::size_t s = 0; s < 8; ++s) {
    EXPECT_EQ(together[s]->n_tokens(), alone[s]->n_tokens());
    EXPECT_EQ(together[s]->report().bytes(), alone[s]->report().bytes());
  }
}

// Sequences that begin alike share what is sealed, and go on in one step as each would alone.
TEST_P(StepTest, ForksGoOnTogether) {
  const auto beginning = cache();
  run({{beginning.get(), text(0, 0, 150), 0}});
  std::vector<std::unique_ptr<KvCache>> forks;
  for (int f = 0; f < 3; ++f) forks.push_back(beginning->fork(kContext));
  for (std::int64_t t = 0; t < 40; ++t) {
    std::vector<StepPart> step;
    for (std::size_t f = 0; f < forks.size(); ++f)
      step.push_back({forks[f].get(), text(f + 1, t, 1), t == 39 ? 1 : 0});
    const auto got = run(step);
    if (t < 39) continue;
    for (std::size_t f = 0; f < forks.size(); ++f) {
      const auto whole = cache();
      run({{whole.get(), text(0, 0, 150), 0}});
      const auto expected = run({{whole.get(), text(f + 1, 0, 40), 1}});
      EXPECT_EQ(got[f], expected[0]) << "fork " << f;
    }
  }
  EXPECT_EQ(beginning->n_tokens(), 150);
}

// A step that its caches or the scratch have no room for is refused before anything has changed.
TEST_P(StepTest, RefusesWhatDoesNotFit) {
  const auto first = cache(), second = cache(), full = cache();
  run({{first.get(), text(0, 0, 70), 0}});
  run({{full.get(), text(2, 0, kContext), 0}});
  const auto refusal = [&](const std::vector<StepPart>& step) -> std::string {
    try {
      engine_->model().forward(engine_->backend(), *scratch_, step);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::value);
      return error.what();
    }
    return "taken";
  };
  const StepPart good{first.get(), text(0, 70, 1), 1};
  EXPECT_NE(refusal({good, {full.get(), text(2, 0, 1), 1}}).find("1 tokens behind 200"), std::string::npos);
  EXPECT_NE(refusal({good, {second.get(), text(1, 0, 0), 0}}).find("part 1 of a step has no tokens"),
            std::string::npos);
  EXPECT_NE(refusal({good, {second.get(), text(1, 0, 2), 3}}).find("logits of 3"), std::string::npos);
  EXPECT_NE(refusal({good, {second.get(), text(1, 0, 2), -1}}).find("logits of -1"), std::string::npos);
  EXPECT_NE(refusal({good, {second.get(), text(1, 0, 1), 0}, good}).find("parts 0 and 2"), std::string::npos);
  EXPECT_NE(refusal({{first.get(), text(0, 70, 130), 0}, {second.get(), text(1, 0, 127), 0}})
                .find("a step of 257 tokens"),
            std::string::npos);
  EXPECT_NE(refusal({}).find("a step of 0 tokens"), std::string::npos);
  EXPECT_EQ(first->n_tokens(), 70);
  EXPECT_EQ(second->n_tokens(), 0);
  const auto got = run({good});
  const auto whole = cache();
  run({{whole.get(), text(0, 0, 70), 0}});
  EXPECT_EQ(got, run({{whole.get(), text(0, 70, 1), 1}}));
}

INSTANTIATE_TEST_SUITE_P(Types, StepTest,
                         testing::Values(StepCase{"f16"}, StepCase{"q8_0,block=64,sink=2"},
                                         StepCase{"turboquant:2,block=64"},
                                         StepCase{"eoptshrinkq:2,block=64,window=32,sink=4"},
                                         StepCase{"kivi:2,block=64;layers 1=f32"}),
                         [](const auto& param) { return testing_support::test_name(param.param.type); });

std::vector<StepCase> every_architecture() {
  std::vector<StepCase> cases;
  for (const test::TinyArchitecture& row : test::tiny_architectures())
    cases.push_back({"turboquant:2,block=64", std::string(row.name)});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Architectures, StepTest, testing::ValuesIn(every_architecture()),
                         [](const auto& param) { return param.param.arch; });

}  // namespace
}  // namespace spectralkv::step_test
