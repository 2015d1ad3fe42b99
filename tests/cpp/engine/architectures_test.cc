// What every row of the table of architectures keeps to, shown on tiny models of each kind of its files.
#include "model/architectures.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "engine/engine.h"
#include "engine/fingerprint.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

constexpr std::size_t kPrompt = 40;

class EveryArchitecture : public testing::TestWithParam<test::TinyArchitecture> {
 protected:
  EveryArchitecture() {
    model_.arch = GetParam().name;
    model_.head_dim = 24;  // not n_embd / n_heads
  }

  std::vector<float> logits(const std::string& bytes, int n_threads = 1, std::int64_t n_batch = 512) const {
    Engine engine(folder_.write("tiny.gguf", bytes), EngineOptions{.n_threads = n_threads});
    SessionOptions options;
    options.n_batch = n_batch;
    options.type_k = options.type_v = "f32";
    Session session(engine, options);
    session.eval(model_.text(kPrompt));
    return {session.logits().begin(), session.logits().end()};
  }
  std::string refusal(const std::string& bytes) const {
    try {
      const Engine engine(folder_.write("tiny.gguf", bytes), EngineOptions{.n_threads = 1});
      return "none";
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::value);
      return e.what();
    }
  }

  const test::TempFolder folder_;
  test::TinyModel model_;
};

TEST_P(EveryArchitecture, LogitsDoNotDependOnBatchesAndThreads) {
  const std::string bytes = model_.bytes();
  const auto expected = logits(bytes);
  EXPECT_TRUE(std::all_of(expected.begin(), expected.end(), [](float x) { return std::isfinite(x); }));
  EXPECT_EQ(logits(bytes, 1, 7), expected);
  EXPECT_EQ(logits(bytes, 1, 1), expected);
  EXPECT_EQ(logits(bytes, 3, 16), expected);
}

// Larger values in one half of it: in the whole of a matrix before a norm they would be divided out again.
TEST_P(EveryArchitecture, EveryTensorMatters) {
  const auto expected = logits(model_.bytes());
  const std::size_t count = model_.builder().tensors().size();
  for (std::size_t i = 0; i < count; ++i) {
    test::GgufBuilder changed = model_.builder();
    auto& tensor = changed.tensors()[i];
    for (std::size_t at = 0; at < tensor.data.size() / 2; at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, tensor.data.data() + at, sizeof value);
      value *= 2;
      std::memcpy(tensor.data.data() + at, &value, sizeof value);
    }
    EXPECT_NE(logits(changed.build()), expected) << tensor.name;
  }
}

TEST_P(EveryArchitecture, SaysWhatItIs) {
  const Engine engine(folder_.write("tiny.gguf", model_.bytes()), EngineOptions{.n_threads = 1});
  EXPECT_TRUE(engine.description().starts_with(GetParam().arch() + " 0M f32, cpu ")) << engine.description();
}

TEST_P(EveryArchitecture, ATensorThatIsMissingOrTooLargeIsNamed) {
  const std::size_t count = model_.builder().tensors().size();
  for (std::size_t i = 0; i < count; ++i) {
    test::GgufBuilder without = model_.builder(), larger = model_.builder();
    auto& tensor = larger.tensors()[i];
    without.tensors().erase(without.tensors().begin() + static_cast<std::ptrdiff_t>(i));
    EXPECT_NE(refusal(without.build()).find(tensor.name), std::string::npos) << refusal(without.build());
    const std::size_t more = tensor.data.size() / tensor.dims.back();
    tensor.dims.back() += 1;
    tensor.data.append(more, '\0');
    EXPECT_NE(refusal(larger.build()).find(tensor.name), std::string::npos) << refusal(larger.build());
  }
}

std::uint64_t fingerprint(const std::string& path) {
  const Gguf file(path);
  return model_fingerprint(file, read_config(file));
}

// What the architecture's own keys say is in a state file's fingerprint, so that a cache is never read by
// another model.
TEST_P(EveryArchitecture, EveryOwnNumberMakesAnotherModel) {
  const std::uint64_t expected = fingerprint(folder_.write("tiny.gguf", model_.bytes()));
  for (const auto& [key, value] : GetParam().keys) {
    test::TinyModel changed = model_;
    if (const auto* number = std::get_if<float>(&value))
      changed.changed = {{key, *number * 1.5f}};
    else if (const auto* whole = std::get_if<std::uint32_t>(&value))
      changed.changed = {{key, *whole - 1}};
    else
      continue;
    if (key == "expert_count") continue;  // then the tensors are others
    EXPECT_NE(fingerprint(folder_.write("other.gguf", changed.bytes())), expected) << key;
  }
}

INSTANTIATE_TEST_SUITE_P(Rows, EveryArchitecture, testing::ValuesIn(test::tiny_architectures()),
                         [](const auto& row) { return std::string(row.param.name); });

TEST(Architectures, EachHasATinyModel) {
  for (const Architecture* row : architectures())
    EXPECT_EQ(test::tiny_architecture(row->name).arch(), row->name);
}

TEST(Architectures, AnUnknownOneIsRefusedWithTheNamesOfAll) {
  const test::TempFolder folder;
  test::GgufBuilder file;
  file.str("general.architecture", "abacus");
  try {
    architecture_of(Gguf(folder.write("abacus.gguf", file.build())));
    ADD_FAILURE();
  } catch (const Error& e) {
    for (const Architecture* row : architectures())
      EXPECT_NE(std::string(e.what()).find(row->name), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace spectralkv
