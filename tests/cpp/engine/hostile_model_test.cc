// Files of every kind in tests/support/tiny_model.h, spoiled: refused by name, or read without harm.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/random.h"
#include "engine/engine.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

class HostileModel : public testing::TestWithParam<test::TinyArchitecture> {
 protected:
  HostileModel() {
    model_.arch = GetParam().name;
    model_.n_embd = 16;
    model_.n_heads = 2;
    model_.n_kv_heads = 1;
    model_.head_dim = 16;
    model_.n_ff = 24;
  }

  // Loads the file and reads some tokens. What refuses it, which names the file, or, while it reads, keys and
  // values that are no numbers; or nothing.
  std::string refusal(const std::string& bytes) const {
    std::string needed = "spoiled.gguf";
    try {
      Engine engine(folder_.write("spoiled.gguf", bytes), EngineOptions{.n_threads = 1});
      SessionOptions options;
      options.n_ctx = 32;
      options.n_batch = 4;
      options.type_k = options.type_v = "f16";
      Session session(engine, options);
      needed = "[kv] layer ";
      const std::vector<Token> tokens{0, 1, 0, 0, 1};
      session.eval(tokens);
      return "";
    } catch (const Error& e) {
      EXPECT_TRUE(e.kind() == ErrorKind::value || e.kind() == ErrorKind::memory) << e.what();
      EXPECT_NE(std::string(e.what()).find(needed), std::string::npos) << e.what();
      return e.what();
    }
  }

  bool is_own(std::string_view key) const {
    const test::TinyKeys& own = GetParam().keys;
    return std::any_of(own.begin(), own.end(), [&](const auto& entry) { return entry.first == key; });
  }

  const test::TempFolder folder_;
  test::TinyModel model_;
};

TEST_P(HostileModel, AbsurdValuesOfEveryKey) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const std::vector<test::TinyValue> values = {
      0u,     1u,   3u,  0x7fffffffu, 0xffffffffu, 0.0f,     -1.0f,
      1e-30f, 1e9f, nan, infinity,    -infinity,   "absurd", std::monostate()};
  ASSERT_EQ(refusal(model_.bytes()), "");
  for (const auto& [key, was] : model_.keys())
    for (const test::TinyValue& value : values) {
      test::TinyModel spoiled = model_;
      spoiled.changed = {{key, value}};
      SCOPED_TRACE(key);
      const std::string said = refusal(spoiled.bytes());
      const float* const number = std::get_if<float>(&value);
      if (number == nullptr || std::isfinite(*number)) continue;
      // A key that all have may be one that this architecture does not read.
      const bool ignored = said.empty() && !is_own(key);
      EXPECT_TRUE(ignored || said.find(key) != std::string::npos) << said;
    }
}

TEST_P(HostileModel, Truncations) {
  const std::string whole = model_.bytes();
  for (std::size_t n = 1; n + 64 < whole.size(); n += 1 + whole.size() / 150)
    EXPECT_NE(refusal(whole.substr(0, n)), "") << n << " bytes";
}

TEST_P(HostileModel, RandomMutations) {
  const std::string whole = model_.bytes();
  // Half of them among the keys of the architecture, which stand in front.
  const std::size_t keys = whole.find("tokenizer.ggml");
  std::uint64_t counter = 0;
  const auto random = [&](std::uint64_t below) { return random_bits(7, counter++) % below; };
  int accepted = 0;
  for (int i = 0; i < 400; ++i) {
    std::string spoiled = whole;
    for (std::uint64_t edits = 1 + random(3); edits > 0; --edits) {
      const std::size_t at = random(random(2) == 0 ? keys : whole.size());
      if (random(2) == 0)
        spoiled[at] = static_cast<char>(random(256));
      else
        spoiled[at] = static_cast<char>(spoiled[at] ^ (1 << random(8)));
    }
    accepted += refusal(spoiled).empty() ? 1 : 0;
  }
  EXPECT_GT(accepted, 20);
  EXPECT_LT(accepted, 380);
}

// What they make of keys and values is refused as it comes to the cache.
TEST_P(HostileModel, WeightsThatAreNoNumbers) {
  const std::size_t count = model_.builder().tensors().size();
  for (std::size_t i = 0; i < count; ++i) {
    test::GgufBuilder spoiled = model_.builder();
    for (char& byte : spoiled.tensors()[i].data) byte = '\xff';
    const std::string said = refusal(spoiled.build());
    EXPECT_TRUE(said.empty() || said.find("not finite") != std::string::npos) << said;
  }
}

// A tensor that no part of the graph reads would change what the model computes.
TEST_P(HostileModel, TensorsThatNothingReads) {
  for (const char* name : {"blk.0.attn_sub_norm.weight", "output_norm.bias", "blk.9.attn_q.weight", "more"}) {
    test::GgufBuilder spoiled = model_.builder();
    spoiled.f32_tensor(name, {16}, std::vector<float>(16, 1.0f));
    EXPECT_NE(
        refusal(spoiled.build()).find(std::string("tensor '") + name + "' is not part of this kind of "),
        std::string::npos);
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, HostileModel, testing::ValuesIn(test::tiny_architectures()),
                         [](const auto& row) { return std::string(row.param.name); });

std::string refusal_of(const std::string& arch, const test::TinyKeys& changed) {
  const test::TempFolder folder;
  test::TinyModel model;
  model.arch = arch;
  model.changed = changed;
  try {
    const Engine engine(folder.write("odd.gguf", model.bytes()), EngineOptions{.n_threads = 1});
    return "none";
  } catch (const Error& e) {
    return e.what();
  }
}

TEST(OddModels, AreRefusedByTheKey) {
  struct Case {
    std::string arch;
    test::TinyKeys changed;
    std::string words;
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Case> cases = {
      {"mixtral", {{"expert_used_count", 0u}}, "'llama.expert_used_count' must lie in 1 to 4"},
      {"mixtral", {{"expert_used_count", std::monostate()}}, "'llama.expert_used_count' must lie in 1 to 4"},
      {"mixtral", {{"expert_used_count", 5u}}, "'llama.expert_used_count' is 5, expected 0 to 4"},
      {"mixtral", {{"expert_count", 513u}}, "'llama.expert_count' is 513, expected 0 to 512"},
      {"mixtral", {{"expert_count", 3u}}, "ffn_gate_inp.weight' is [4, 64], expected [3, 64]"},
      {"llama", {{"expert_count", 2u}, {"expert_used_count", 1u}}, "ffn_gate_inp.weight' is missing"},
      {"llama", {{"expert_used_count", 1u}}, "'llama.expert_used_count' is 1, expected 0 to 0"},
      {"llama", {{"attention.layer_norm_rms_epsilon", nan}}, "layer_norm_rms_epsilon' is nan"},
      {"qwen2", {{"expert_count", 2u}, {"expert_used_count", 1u}}, "mixture of experts"},
      {"granite", {{"logit_scale", 0.0f}}, "'granite.logit_scale' is 0"},
      {"granite", {{"logit_scale", std::monostate()}}, "'granite.logit_scale' is missing"},
      {"granite", {{"rope.scaling.finetuned", false}}, "attention without positions is not supported"},
      {"granite", {{"embedding_scale", -1.0f}}, "'granite.embedding_scale' is -1"},
      {"granite", {{"attention.scale", nan}}, "'granite.attention.scale' is nan"},
      {"mistral3", {{"rope.scaling.type", "longrope"}}, "'longrope' is not supported"},
      {"mistral3", {{"rope.scaling.original_context_length", 0u}}, "original_context_length' is 0"},
  };
  for (const Case& one : cases) {
    const std::string said = refusal_of(one.arch, one.changed);
    EXPECT_NE(said.find(one.words), std::string::npos) << said << "\nlacks: " << one.words;
    EXPECT_NE(said.find("odd.gguf"), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace spectralkv
