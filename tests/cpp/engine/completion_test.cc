// What ends an answer: end tokens, and stop strings that are control tokens.
#include "engine/completion.h"

#include <gtest/gtest.h>

#include "cpp/tokenizer/vocabularies.h"

namespace spectralkv {
namespace {

// Logits that leave one token.
class Only final : public LogitsRow {
 public:
  Only(int n_vocab, Token token) : values_(static_cast<std::size_t>(n_vocab), -50.0f) {
    values_[static_cast<std::size_t>(token)] = 50.0f;
  }
  std::span<const float> all() override { return values_; }
  bool best(std::span<std::pair<float, Token>>) override { return false; }

 private:
  std::vector<float> values_;
};

struct Answer {
  std::string text;
  FinishReason reason = FinishReason::none;
  int n = 0;
};

Answer answer(const Tokenizer& tokenizer, const std::vector<std::string>& stop, const Tokens& tokens,
              bool render_special = false) {
  CompletionOptions options;
  options.sampling.temperature = 0;
  options.stop = stop;
  options.render_special = render_special;
  Completion completion(tokenizer, options);
  Answer result;
  for (const Token token : tokens) {
    Only logits(tokenizer.n_vocab(), token);
    result.text += completion.draw(logits, {}, false).text;
    ++result.n;
    if (completion.reason() != FinishReason::none) break;
  }
  result.reason = completion.reason();
  return result;
}

TEST(Completion, AStopStringMayBeAControlToken) {
  Vocab vocab = byte_level();
  const Token turn = add(vocab, "<|turn|>", TokenType::control),
              other = add(vocab, "<|x|>", TokenType::control);
  const Tokenizer tokenizer(std::move(vocab));
  for (const bool render : {false, true}) {
    const Answer stopped = answer(tokenizer, {"zz", "<|turn|>"}, {'a', 'z', turn, 'b'}, render);
    EXPECT_EQ(stopped.text, "az");
    EXPECT_EQ(stopped.reason, FinishReason::stop);
    EXPECT_EQ(stopped.n, 3);
  }
  EXPECT_EQ(answer(tokenizer, {"<|turn|>"}, {'a', other, 'b'}).text, "ab");
  EXPECT_EQ(answer(tokenizer, {"<|turn|>"}, {'a', other, 'b'}, true).text, "a<|x|>b");
  EXPECT_EQ(answer(tokenizer, {"b"}, {'a', turn, 'b'}).text, "a");
  EXPECT_EQ(answer(tokenizer, {"<|"}, {'a', turn, 'b'}).text, "ab");  // it is not shown, and not all of it
  // The same text in plain tokens.
  Tokens written;
  for (const char c : std::string("a<|turn|>b")) written.push_back(static_cast<Token>(c));
  EXPECT_EQ(answer(tokenizer, {"<|turn|>"}, written).text, "a");
}

}  // namespace
}  // namespace spectralkv
