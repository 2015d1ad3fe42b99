// The public header: what it generates is what a session of the engine does, and a text goes on behind an
// answer.
#include <gtest/gtest.h>

#include "engine/generate.h"
#include "spectralkv.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

class Embed : public testing::Test {
 protected:
  test::TempFolder folder_;
  std::string path_ = folder_.write("tiny.gguf", test::TinyModel().bytes());
  api::GenerateOptions greedy_{.temperature = 0, .max_tokens = 6};
};

std::string greedy(const std::string& path, const std::string& text, std::int64_t n) {
  Engine engine(path, {});
  Session session(engine, {});
  session.eval(engine.tokenizer().encode(text, true, true));
  GenerateOptions options;
  options.sampling.temperature = 0;
  options.max_tokens = n;
  Generation generation(session, options);
  std::string all;
  while (const auto token = generation.next()) all += token->text;
  return all + generation.rest();
}

TEST_F(Embed, GeneratesWhatTheEngineDoes) {
  const api::Model model(path_);
  EXPECT_NE(model.description().find("cpu"), std::string::npos);
  EXPECT_FALSE(model.tokenize("abc").empty());
  api::Session session(model, {.n_ctx = 128});
  session.read("abcdef");
  std::string pieces;
  const std::string answer = session.generate(greedy_, [&](std::string_view piece) {
    pieces += piece;
    return true;
  });
  EXPECT_EQ(answer, greedy(path_, "abcdef", 6));
  EXPECT_EQ(pieces, answer);
  EXPECT_GT(session.cache_bytes(), 0);
  EXPECT_EQ(session.n_ctx(), 128);
}

TEST_F(Embed, GoesOnBehindTheAnswer) {
  const api::Model model(path_);
  api::Session session(model), whole(model);
  session.read("abcdef");
  const std::string first = session.generate(greedy_), second = session.generate(greedy_);
  whole.read("abcdef");
  EXPECT_EQ(whole.generate({.temperature = 0, .max_tokens = 12}), first + second);
  EXPECT_EQ(whole.n_tokens(), session.n_tokens());
  session.reset();
  EXPECT_EQ(session.n_tokens(), 0);
  session.read("abcdef");
  EXPECT_EQ(session.generate(greedy_), first);
}

TEST_F(Embed, EndsWhenNoMoreIsWanted) {
  const api::Model model(path_);
  api::Session session(model);
  session.read("abcdef");
  const std::int64_t before = session.n_tokens();
  const std::string answer = session.generate({.temperature = 0}, [](std::string_view) { return false; });
  EXPECT_FALSE(answer.empty());
  EXPECT_LE(session.n_tokens(), before + 2);
}

TEST_F(Embed, SaysWhatIsWrong) {
  try {
    const api::Model model(path_ + ".not");
    FAIL() << "there is no such file";
  } catch (const std::exception& error) {
    EXPECT_NE(std::string(error.what()).find("tiny.gguf.not"), std::string::npos) << error.what();
  }
  const api::Model model(path_);
  EXPECT_THROW(api::Session(model, {.cache_type_k = "f17"}), std::exception);
  api::Session session(model, {.n_ctx = 4});
  EXPECT_THROW(session.generate(), std::exception) << "nothing was read";
  EXPECT_THROW(session.read("abcdefgh"), std::exception) << "longer than the context";
}

}  // namespace
}  // namespace spectralkv
