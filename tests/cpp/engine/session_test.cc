// What a session counts, and how soon it hears that it is to stop.
#include <gtest/gtest.h>

#include "base/error.h"
#include "engine/generate.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

TEST(Session, AsksSoonAndCountsWhatItRead) {
  const test::TempFolder folder;
  const test::TinyModel model;
  Engine engine(folder.write("tiny.gguf", model.bytes()), EngineOptions{.n_threads = 1});
  SessionOptions options;
  options.n_batch = 512;
  Session session(engine, options);
  const auto text = model.text(200);
  int asked = 0;
  try {
    session.eval(text, [&] { return ++asked > 1; });
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::interrupted);
  }
  EXPECT_EQ(session.tokens().size(), 32u);
  EXPECT_EQ(session.timings().prompt_tokens, 32);
  EXPECT_EQ(session.timings().eval_tokens, 0);
}

TEST(Session, APromptOfOneTokenIsAPrompt) {
  const test::TempFolder folder;
  const test::TinyModel model;
  Engine engine(folder.write("tiny.gguf", model.bytes()), EngineOptions{.n_threads = 1});
  Session session(engine, {});
  session.eval(model.text(1));
  GenerateOptions options;
  options.max_tokens = 3;
  options.ignore_end_tokens = true;
  Generation generation(session, options);
  while (generation.next()) {
  }
  EXPECT_EQ(session.timings().prompt_tokens, 1);
  EXPECT_EQ(session.timings().eval_tokens, 2);
}

}  // namespace
}  // namespace spectralkv
