// What a vocabulary may be (every hostile one is refused with a message that names the file and the fault),
// and what it asks for around prompts.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <limits>
#include <string>

#include "base/error.h"
#include "cpp/tokenizer/vocabularies.h"
#include "tokenizer/pretokenizers.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {
namespace {

void expect_refused(Vocab vocab, const std::string& message) {
  try {
    const Tokenizer tokenizer(std::move(vocab));
    FAIL() << "accepted, expected: " << message;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::value);
    const std::string what = error.what();
    EXPECT_NE(what.find("[tokenizer] test.gguf: "), std::string::npos) << what;
    EXPECT_NE(what.find(message), std::string::npos) << what;
  }
}

void expect_refused(Vocab vocab, const std::function<void(Vocab&)>& spoil, const std::string& message) {
  spoil(vocab);
  expect_refused(std::move(vocab), message);
}

TEST(Vocab, RefusesWrongSizes) {
  expect_refused(
      scored(true), [](Vocab& v) { v.tokens.clear(); }, "the vocabulary has no tokens");
  expect_refused(
      scored(true), [](Vocab& v) { v.scores.pop_back(); }, "259 scores for 260 tokens");
  expect_refused(
      scored(true), [](Vocab& v) { v.scores.push_back(0); }, "261 scores for 260 tokens");
  expect_refused(
      scored(true), [](Vocab& v) { v.types.pop_back(); }, "259 token types for 260 tokens");
  expect_refused(
      byte_level(), [](Vocab& v) { v.types.resize(1); }, "1 token types for 256 tokens");
}

TEST(Vocab, RefusesUnknownModels) {
  for (const std::string model : {"", "bert", "GPT2", "llama\n\xff"}) {
    expect_refused(
        byte_level(), [&](Vocab& v) { v.model = model; }, "the tokenizer model '");
  }
  expect_refused(
      byte_level(), [](Vocab& v) { v.model = "a\xff\n"; },
      "the tokenizer model 'a\\xff\\x0a' is not supported; supported are gpt2 (");
  expect_refused(
      byte_level(), [](Vocab& v) { v.model = "bert"; }, "'bert' (WordPiece) is not supported");
  expect_refused(
      byte_level(), [](Vocab& v) { v.model = "t5"; }, "'t5' (SentencePiece's Unigram) is not supported");
  for (const std::string model : {"rwkv", "plamo2", "gemma4", "none"})
    expect_refused(
        byte_level(), [&](Vocab& v) { v.model = model; }, "'" + model + "' (");
}

TEST(Vocab, RefusesUnknownPreTokenizersUnlessAllowed) {
  expect_refused(byte_level({}, "qwen9"), "unknown pre-tokenizer 'qwen9', there are default, ");
  expect_refused(byte_level({}, ""), "unknown pre-tokenizer ''");
  for (const PreTokenizer& row : pretokenizers()) {
    expect_refused(byte_level({}, "x"), std::string(row.name));
    EXPECT_NO_THROW(Tokenizer(byte_level({}, std::string(row.name))));
  }
  Vocab vocab = byte_level({"a b", "Ġ ab"}, "qwen9");
  vocab.allow_unknown_pre = true;
  EXPECT_EQ(Tokenizer(std::move(vocab)).encode("ab ab", false, false), (Tokens{256, 257}));
}

TEST(Vocab, RefusesIdsOutside) {
  const Token outside[] = {256, -2, std::numeric_limits<Token>::max(), std::numeric_limits<Token>::min()};
  for (const Token id : outside) {
    expect_refused(
        byte_level(), [&](Vocab& v) { v.bos = id; }, concat("the bos token ", id, " lies outside"));
    expect_refused(
        byte_level(), [&](Vocab& v) { v.eos = id; }, concat("the eos token ", id, " lies outside"));
    expect_refused(
        byte_level(), [&](Vocab& v) { v.eot = id; }, concat("the eot token ", id, " lies outside"));
    expect_refused(
        byte_level(), [&](Vocab& v) { v.eom = id; }, concat("the eom token ", id, " lies outside"));
    expect_refused(
        byte_level(), [&](Vocab& v) { v.unk = id; }, concat("the unk token ", id, " lies outside"));
    expect_refused(
        byte_level(), [&](Vocab& v) { v.pad = id; }, concat("the pad token ", id, " lies outside"));
    expect_refused(
        byte_level(),
        [&](Vocab& v) {
          v.more_eog = {1, id};
        },
        "end-of-generation token");
  }
  expect_refused(
      byte_level(), [](Vocab& v) { v.add_bos = true; }, "add_bos is set, but there is no bos token");
  expect_refused(
      byte_level(), [](Vocab& v) { v.add_eos = true; }, "add_eos is set, but there is no eos token");
}

TEST(Vocab, RefusesTypesAndScoresOutOfRange) {
  for (const int type : {0, 7, 255}) {
    expect_refused(
        scored(true), [&](Vocab& v) { v.types[5] = static_cast<TokenType>(type); },
        concat("token 5 has type ", type));
  }
  expect_refused(
      scored(true), [](Vocab& v) { v.scores[7] = std::numeric_limits<float>::quiet_NaN(); },
      "the score of token 7 is not finite");
  expect_refused(
      scored(true), [](Vocab& v) { v.scores[7] = std::numeric_limits<float>::infinity(); },
      "the score of token 7 is not finite");
}

TEST(Vocab, RefusesOddByteTokens) {
  for (const std::string text :
       {"<0xZZ>", "<0x1>", "<0x123>", "<0X12>", "", "a", "<0x1 >", "<0x12", "<0x-1>"}) {
    expect_refused(
        scored(true), [&](Vocab& v) { v.tokens[9] = text; }, "byte token 9 is '" + text + "'");
    Vocab vocab = scored(true);
    vocab.tokens[9] = text;
    vocab.types[9] = TokenType::normal;  // an ordinary token may look like that
    EXPECT_NO_THROW(Tokenizer(std::move(vocab)));
  }
}

TEST(Vocab, RefusesBadMerges) {
  const auto with = [](const std::string& merge) {
    Vocab vocab = byte_level({"a b", "c d"});
    vocab.merges.push_back(merge);
    return vocab;
  };
  for (const std::string merge : {"", " ", "ab", "ab ", " ab", "\xff\xfe"}) {
    expect_refused(with(merge), "merge 2 ");
    expect_refused(with(merge), "is not two tokens with a space between");
  }
  expect_refused(with("abc d"), "merge 2 'abc d' has a left token that the vocabulary lacks");
  expect_refused(with("a bcd"), "merge 2 'a bcd' has a right token that the vocabulary lacks");
  expect_refused(with("a b c"), "merge 2 'a b c' has a right token that the vocabulary lacks");
  expect_refused(with("a c"), "merge 2 'a c' gives a token that the vocabulary lacks");
  expect_refused(with(std::string(1000, 'x') + " a"), "xxx...' has a left token");
}

TEST(Vocab, AcceptsDuplicatesAndEmptyTexts) {
  Vocab vocab = byte_level({"a b"});
  add(vocab, "ab", TokenType::normal);
  add(vocab, "a", TokenType::normal);
  for (const TokenType type : {TokenType::normal, TokenType::control, TokenType::user_defined})
    add(vocab, "", type);
  const Token user = add(vocab, "<u>", TokenType::user_defined);
  add(vocab, "<u>", TokenType::control);
  add(vocab, "<u>", TokenType::user_defined);
  const Tokenizer tokenizer(std::move(vocab));
  EXPECT_EQ(tokenizer.encode("aba<u>", false, true), (Tokens{256, 'a', user}));
  EXPECT_EQ(tokenizer.decode(Tokens{257, 258, 259, 260, 261}, true, false), "aba");
}

TEST(Vocab, LoadsLargeOnesFast) {
  // 90,000 tokens and merges as long chains: pairs of letters, then one letter more each time.
  std::vector<std::string> merges, made;
  for (int first = 0; first < 26; ++first) {
    for (int second = 0; second < 26; ++second) {
      std::string left(1, static_cast<char>('a' + first));
      std::uint32_t next = static_cast<std::uint32_t>(second);
      for (int length = 2; length < 135; ++length, next = next * 5 % 26 + 1) {
        const char right = static_cast<char>('a' + (length == 2 ? second : static_cast<int>(next % 26)));
        merges.push_back(left + " " + right);
        left.push_back(right);
      }
    }
  }
  Vocab vocab = byte_level(std::move(merges));
  const auto begin = std::chrono::steady_clock::now();
  const Tokenizer tokenizer(std::move(vocab));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(seconds.count(), 5.0);  // 0.1 s in a release build
}

TEST(Prompt, BosOnceAndNeverEos) {
  for (const bool add_bos : {false, true})
    for (const bool add_eos : {false, true}) {
      Vocab vocab = scored(true);
      vocab.add_bos = add_bos;
      vocab.add_eos = add_eos;
      const Token bos = vocab.bos, eos = vocab.eos;
      const Tokenizer tokenizer(std::move(vocab));
      const Tokens a = tokenizer.encode("a", false, true);
      Tokens with_bos = a;
      with_bos.insert(with_bos.begin(), bos);
      const Tokens written_out = tokenizer.encode("<s>", false, false);
      EXPECT_EQ(tokenizer.encode_prompt("a", true), add_bos ? with_bos : a);
      EXPECT_EQ(tokenizer.encode_prompt("<s>a", true), with_bos);
      EXPECT_EQ(tokenizer.encode_prompt("<s>", false).size(), written_out.size() + (add_bos ? 1 : 0));
      EXPECT_EQ(tokenizer.encode_prompt("", true), Tokens{bos});
      // An EOS that the text writes itself stays.
      EXPECT_EQ(tokenizer.encode_prompt("a</s>", true).back(), eos);
      EXPECT_EQ(tokenizer.encode("a", true, true).back() == eos, add_eos);
    }
  EXPECT_EQ(Tokenizer(byte_level()).encode_prompt("", true), Tokens{});  // no BOS to begin with
}

}  // namespace
}  // namespace spectralkv
