// Every codec, head dim and architecture through a whole model: a prompt equals token by token, whatever
// batches, threads, saved states, copies and cuts are in between, to the last bit.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>

#include "cpp/kv/codec_cases.h"
#include "engine/engine.h"
#include "support/tiny_model.h"

namespace spectralkv::codec_model_test {
namespace {

struct Shape {
  std::uint32_t heads, kv_heads, d;
  std::string arch = "llama";  // a row of tiny_architectures()
};

std::vector<Shape> of_every_architecture() {
  std::vector<Shape> shapes;
  for (const test::TinyArchitecture& row : test::tiny_architectures())
    if (row.name != "llama") shapes.push_back({2, 1, 64, std::string(row.name)});
  return shapes;
}

struct Types {
  std::string k, v;
};

// Every codec for keys and for values, and mixtures that K and V do not share.
std::vector<Types> all_types() {
  std::vector<Types> all{
      {"f32", "f16"},
      {"q8_0,block=48,sink=2", "q4_0,block=48,sink=2,window=16"},
      {"turboquant:3,block=64", "turboquant:1,block=64,rotation=hadamard"},
      {"eoptshrinkq:2,paper,block=64", "eoptshrinkq:4,block=64,sink=0,window=0;layers 1=f16"}};
  for (const std::string& type : testing_support::every_lossy_codec("block=64,window=32"))
    all.push_back({type, type});
  return all;
}

constexpr std::size_t kPrompt = 150, kAll = 170;

using Logits = std::vector<float>;

class CodecModel : public testing::TestWithParam<Shape> {};

TEST_P(CodecModel, EveryWayOfReadingIsTheSame) {
  const Shape& shape = GetParam();
  test::TinyModel model;
  model.arch = shape.arch;
  model.n_heads = shape.heads;
  model.n_kv_heads = shape.kv_heads;
  model.n_embd = shape.heads * shape.d;
  const test::TempFolder folder;
  const std::string path = folder.write("tiny.gguf", model.bytes()), state = folder.write("state", "");
  Engine one(path, EngineOptions{.n_threads = 1}), two(path, EngineOptions{.n_threads = 2});
  ASSERT_EQ(one.config().head_dim, shape.d);
  const auto text = model.text(kAll);
  const std::span<const Token> all(text);

  for (const Types& types : all_types()) {
    SCOPED_TRACE(concat("K ", types.k, ", V ", types.v));
    const auto session = [&](Engine& engine, std::int64_t batch) {
      SessionOptions options;
      options.n_ctx = 200;
      options.n_batch = batch;
      options.type_k = types.k;
      options.type_v = types.v;
      return std::make_unique<Session>(engine, options);
    };
    const auto after = [](const Session& s) { return Logits(s.logits().begin(), s.logits().end()); };
    const auto same = [](const Logits& a, const Logits& b) {
      return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };

    // Token by token, with the logits behind each.
    const auto slow = session(one, 1);
    std::vector<Logits> expected(kAll);
    for (std::size_t t = 0; t < kAll; ++t) {
      slow->eval_next(text[t]);
      expected[t] = after(*slow);
    }
    const auto goes_on = [&](Session& s, const char* what) {
      for (std::size_t t = s.tokens().size(); t < kAll; ++t) {
        s.eval(all.subspan(t, 1));
        ASSERT_TRUE(same(after(s), expected[t])) << what << ", token " << t;
      }
    };

    const auto whole = session(two, 512);
    whole->eval(all.first(kPrompt));
    EXPECT_TRUE(same(after(*whole), expected[kPrompt - 1])) << "a prompt at once, two threads";
    const auto pieces = session(one, 17);
    pieces->eval(all.first(101));
    EXPECT_TRUE(same(after(*pieces), expected[100])) << "batches of 17";
    pieces->save_state(state);
    const auto restored = session(two, 40), copied = session(one, 40);
    restored->load_state(state);
    copied->eval(all.first(9));
    copied->copy_from(*pieces);
    for (Session* s : {restored.get(), copied.get()}) {
      EXPECT_TRUE(same(after(*s), expected[100]));
      s->eval(all.subspan(101, kPrompt - 101));
    }
    goes_on(*restored, "restored");
    goes_on(*copied, "copied");
    EXPECT_TRUE(same(after(*pieces), expected[100])) << "the original of a copy";

    // Cut back as far as the cache can to 100 tokens, and read again.
    try {
      whole->truncate(100);
    } catch (const Error&) {
      EXPECT_EQ(whole->tokens().size(), kPrompt);
      EXPECT_TRUE(same(after(*whole), expected[kPrompt - 1])) << "a refusal changes nothing";
      const std::int64_t kept = whole->keep_common(all.first(101));
      EXPECT_LT(kept, 100);
      if (kept < 100)
        whole->eval(all.subspan(static_cast<std::size_t>(kept), static_cast<std::size_t>(100 - kept)));
    }
    goes_on(*whole, "cut back");
    EXPECT_EQ(whole->cache_report().bytes(), slow->cache_report().bytes());
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CodecModel,
                         testing::Values(Shape{9, 3, 64}, Shape{5, 5, 80}, Shape{7, 1, 96}, Shape{6, 2, 112},
                                         Shape{3, 1, 128}, Shape{3, 1, 256}),
                         [](const auto& param) { return concat("d", param.param.d); });

INSTANTIATE_TEST_SUITE_P(Architectures, CodecModel, testing::ValuesIn(of_every_architecture()),
                         [](const auto& param) { return param.param.arch; });

}  // namespace
}  // namespace spectralkv::codec_model_test
