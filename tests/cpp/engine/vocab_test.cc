// What files leave open or have wrong about their end tokens and spaces.
#include "engine/vocab.h"

#include <gtest/gtest.h>

#include <map>

#include "base/error.h"
#include "support/tiny_model.h"

namespace spectralkv {
namespace {

using Numbers = std::map<std::string, std::uint32_t>;

// A vocabulary of these tokens behind <unk>, <s> and </s>, all of a type; BOS 1 and EOS 1.
Vocab vocab_of(const std::vector<std::string>& texts, TokenType type, const Numbers& more = {},
               const std::string& scheme = "") {
  std::vector<std::string> tokens{"<unk>", "<s>", "</s>"};
  std::vector<std::int32_t> types{2, 3, static_cast<std::int32_t>(type)};
  for (const std::string& text : texts) {
    tokens.push_back(text);
    types.push_back(static_cast<std::int32_t>(type));
  }
  test::GgufBuilder b;
  b.str("general.architecture", "llama").str("tokenizer.ggml.model", "llama");
  b.strings("tokenizer.ggml.tokens", tokens);
  b.numbers<std::int32_t>("tokenizer.ggml.token_type", test::Kind::i32, types);
  b.u32("tokenizer.ggml.bos_token_id", 1).u32("tokenizer.ggml.eos_token_id", 1);
  for (const auto& [key, value] : more) b.u32("tokenizer.ggml." + key, value);
  if (!scheme.empty()) b.str("spectralkv.tokenizer.prepend_scheme", scheme);
  test::TempFolder folder;
  return read_vocab(Gguf(folder.write("vocab.gguf", b.build()), Gguf::Types::any), false);
}

std::vector<Token> ends_of(Vocab vocab) {
  const Tokenizer tokenizer(std::move(vocab));
  std::vector<Token> ends;
  for (Token token = 0; token < tokenizer.n_vocab(); ++token)
    if (tokenizer.is_end(token)) {
      ends.push_back(token);
      EXPECT_TRUE(tokenizer.is_control(token)) << token;
      EXPECT_EQ(tokenizer.piece(token, false), "") << token;
    }
  return ends;
}

TEST(Vocab, TextsOfTurnEndsEndWhateverTheirType) {
  const std::vector<std::string> texts{"<|im_end|>",   "<|eot_id|>", "<end_of_turn>", "<|end|>",     "plain",
                                       "<|im_start|>", "<eos>",      "[EOS]",         "<|file_sep|>"};
  for (const TokenType type : {TokenType::normal, TokenType::user_defined, TokenType::control})
    EXPECT_EQ(ends_of(vocab_of(texts, type)), (std::vector<Token>{1, 2, 3, 4, 5, 6, 9, 10, 11}))
        << static_cast<int>(type);
}

TEST(Vocab, AFileThatNamesItsTokens) {
  EXPECT_EQ(ends_of(vocab_of({"<|other|>", "<|file_sep|>"}, TokenType::control, {{"fim_sep_token_id", 3}})),
            (std::vector<Token>{1, 2, 3, 4}));
  EXPECT_EQ(ends_of(vocab_of({"<|other|>", "<|x|>"}, TokenType::control, {{"eot_token_id", 4}})),
            (std::vector<Token>{1, 2, 4}));
}

TEST(Vocab, EndsOfParts) {  // of an answer in several
  EXPECT_EQ(ends_of(vocab_of({"<|end|>", "<|return|>", "<|call|>"}, TokenType::control)),
            (std::vector<Token>{1, 2, 4, 5}));
  EXPECT_EQ(ends_of(vocab_of({"<|end|>", "<|return|>"}, TokenType::control)),
            (std::vector<Token>{1, 2, 3, 4}));
}

TEST(Vocab, SpacesInFront) {
  EXPECT_EQ(vocab_of({}, TokenType::control).space_prefix, SpacePrefix::each);
  EXPECT_EQ(vocab_of({}, TokenType::control, {}, "always").space_prefix, SpacePrefix::each_without);
  EXPECT_EQ(vocab_of({}, TokenType::control, {}, "first").space_prefix, SpacePrefix::first_without);
  EXPECT_THROW(vocab_of({}, TokenType::control, {}, "last"), Error);
}

}  // namespace
}  // namespace spectralkv
