// Why a file cannot run, without reading its weights: what an Engine would say.
#include "engine/obstacles.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/engine.h"
#include "model/architectures.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

std::vector<std::string> obstacles_of(const std::string& path) {
  return obstacles(Gguf(path, Gguf::Types::any));
}

std::string refusal(const std::string& path) {
  try {
    const Engine engine(path, {.n_threads = 1});
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

class Obstacles : public testing::TestWithParam<const Architecture*> {
 protected:
  test::GgufBuilder builder() const {
    test::TinyModel model;
    model.arch = std::string(GetParam()->name);
    return model.builder();
  }
  const test::TempFolder folder_;
};

TEST_P(Obstacles, AGoodFileHasNone) {
  const std::string path = folder_.write("good.gguf", builder().build());
  EXPECT_EQ(obstacles_of(path), std::vector<std::string>());
  EXPECT_EQ(refusal(path), "");
}

TEST_P(Obstacles, AMissingTensorIsNamedAsAnEngineNamesIt) {
  for (std::size_t i = 0; i < builder().tensors().size(); ++i) {
    test::GgufBuilder without = builder();
    const std::string name = without.tensors()[i].name;
    without.tensors().erase(without.tensors().begin() + static_cast<std::ptrdiff_t>(i));
    const std::string path = folder_.write("without.gguf", without.build());
    const auto found = obstacles_of(path);
    ASSERT_EQ(found.size(), 1u) << name;
    EXPECT_EQ(found[0], refusal(path));
    EXPECT_NE(found[0].find(name), std::string::npos) << found[0];
  }
}

TEST_P(Obstacles, WeightTypesAreCounted) {
  test::GgufBuilder foreign = builder();
  foreign.tensors()[1].type = foreign.tensors()[3].type = 15;
  foreign.tensors()[2].type = 7777;
  const std::string path = folder_.write("foreign.gguf", foreign.build());
  const auto found = obstacles_of(path);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_NE(found[0].find("not supported: q8_k (2 tensors), unknown_7777 (1 tensor)"), std::string::npos)
      << found[0];
  EXPECT_NE(refusal(path).find("Q8_K"), std::string::npos) << refusal(path);
}

INSTANTIATE_TEST_SUITE_P(Rows, Obstacles, testing::ValuesIn(architectures()),
                         [](const auto& row) { return std::string(row.param->name); });

TEST(ObstaclesOfAny, EveryReasonIsNamed) {
  const test::TempFolder folder;
  test::GgufBuilder file;
  file.str("general.architecture", "abacus").str("tokenizer.ggml.model", "beads");
  file.strings("tokenizer.ggml.tokens", {"a", "b"}).boolean("tokenizer.ggml.add_bos_token", false);
  const auto found = obstacles_of(folder.write("abacus.gguf", file.build()));
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NE(found[0].find("'abacus' is not supported"), std::string::npos) << found[0];
  EXPECT_NE(found[1].find("no tensors"), std::string::npos) << found[1];
  EXPECT_NE(found[2].find("beads"), std::string::npos) << found[2];
  EXPECT_EQ(obstacles_of(folder.write("empty.gguf", test::GgufBuilder().build())).size(), 3u);
}

}  // namespace
}  // namespace spectralkv
