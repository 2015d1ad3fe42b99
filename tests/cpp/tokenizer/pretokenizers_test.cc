// The pieces of each pre-tokenizer on the cases where its rules interact. The expected ones were checked with
// the regular expressions themselves and with llama.cpp (tests/python/test_tokenizer_oracle.py and
// test_pretokenizers_llama_cpp.py compare thousands more).
#include "tokenizer/pretokenizers.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace spectralkv {
namespace {

using Pieces = std::vector<std::string_view>;

Pieces split(std::string_view name, std::string_view text) {
  return split_text(*find_pretokenizer(name), text);
}

TEST(PreTokenizers, Gpt2) {
  EXPECT_EQ(split("gpt-2", ""), Pieces{});
  EXPECT_EQ(split("gpt-2", "don't I'LL 'sx"), (Pieces{"don", "'t", " I", "'", "LL", " '", "sx"}));
  EXPECT_EQ(split("gpt-2", "a  b\n\nc \n "), (Pieces{"a", " ", " b", "\n", "\n", "c", " \n "}));
  EXPECT_EQ(split("gpt-2", "x12345 67!? \t!"), (Pieces{"x", "12345", " 67", "!?", " ", "\t", "!"}));
  EXPECT_EQ(split("gpt-2", "e\u0301t\u00a0u"), (Pieces{"e", "\u0301", "t", "\u00a0", "u"}));
}

TEST(PreTokenizers, Llama) {
  EXPECT_EQ(split("llama-bpe", "don'T (we'lL)\r\n\n x"),
            (Pieces{"don", "'T", " (", "we", "'lL", ")\r\n\n", " x"}));
  EXPECT_EQ(split("llama-bpe", "a 1234567\n \n  b"),
            (Pieces{"a", " ", "123", "456", "7", "\n \n", " ", " b"}));
  EXPECT_EQ(split("llama-bpe", "\tx\n\ty"), (Pieces{"\tx", "\n", "\ty"}));
  EXPECT_EQ(split("llama-bpe", "x'\u017fo"), (Pieces{"x", "'\u017fo"}));  // the long s is no s
  EXPECT_EQ(split("llama-bpe", "   "), Pieces{"   "});
  EXPECT_EQ(split("llama-bpe", "! \n!\n"), (Pieces{"!", " \n", "!\n"}));
}

// As llama-bpe, but a number is a piece of its own; no merges are ignored.
TEST(PreTokenizers, Qwen2) {
  EXPECT_EQ(split("qwen2", "don'T (we'lL)\r\n\n x"),
            (Pieces{"don", "'T", " (", "we", "'lL", ")\r\n\n", " x"}));
  EXPECT_EQ(split("qwen2", "a 1234\n \n  b"), (Pieces{"a", " ", "1", "2", "3", "4", "\n \n", " ", " b"}));
  EXPECT_EQ(split("qwen2", "x1y\u0663\u2167 2"), (Pieces{"x", "1", "y", "\u0663", "\u2167", " ", "2"}));
  EXPECT_EQ(split("qwen2", "e\u0301t ._1!\n"), (Pieces{"e", "\u0301t", " ._", "1", "!\n"}));
  EXPECT_FALSE(find_pretokenizer("qwen2")->ignore_merges);
}

TEST(PreTokenizers, Smollm) {
  EXPECT_EQ(split("smollm", "a 12  3b"), (Pieces{"a", " ", "1", "2", "  ", "3", "b"}));
  EXPECT_EQ(split("smollm", "\u2167x\u00b2"), (Pieces{"\u2167", "x", "\u00b2"}));
  EXPECT_EQ(split("smollm", "1"), Pieces{"1"});
}

TEST(PreTokenizers, Tekken) {
  EXPECT_EQ(split("tekken", "HTTPServer aBC"), (Pieces{"HTTPServer", " a", "BC"}));
  EXPECT_EQ(split("tekken", "don't 123"), (Pieces{"don", "'t", " ", "1", "2", "3"}));
  EXPECT_EQ(split("tekken", "a//\n/b ./\n"), (Pieces{"a", "//\n/", "b", " ./\n"}));
  // Heads that are given back until a tail follows: a letter of both kinds, then capitals.
  EXPECT_EQ(split("tekken", "東AB"), (Pieces{"東", "AB"}));
  EXPECT_EQ(split("tekken", "A東BC"), (Pieces{"A東", "BC"}));
  // A mark is no letter but may lead a word; a capital letter outside ASCII may be a tail.
  EXPECT_EQ(split("tekken", "e\u0301AB"), (Pieces{"e", "\u0301AB"}));
  EXPECT_EQ(split("tekken", "\u00c9COLE \u0416\u0416A"), (Pieces{"\u00c9", "COLE", " \u0416\u0416", "A"}));
  EXPECT_EQ(split("tekken", "!\u0301!"), Pieces{"!\u0301!"});
}

TEST(PreTokenizers, Gpt4o) {
  EXPECT_EQ(split("gpt-4o", "don'T HTTPServer's 12345//\n"),
            (Pieces{"don'T", " HTTPServer's", " ", "123", "45", "//\n"}));
  EXPECT_EQ(split("gpt-4o", "AB'll a'x"), (Pieces{"AB'll", " a", "'x"}));
}

TEST(PreTokenizers, DefaultAndFalcon) {
  EXPECT_EQ(split("default", "a,b 12345 `x"), (Pieces{"a", ",", "b", " ", "123", "45", " `", "x"}));
  EXPECT_EQ(split("falcon", "a,b 12345 `x"), (Pieces{"a", ",", "b", " ", "123", "45", " ", "`", "x"}));
  EXPECT_EQ(split("falcon", "12345"), (Pieces{"123", "45"}));
  EXPECT_EQ(split("default", "don't"), (Pieces{"don", "'", "t"}));
}

TEST(PreTokenizers, LikeLlamaWithADifference) {
  EXPECT_EQ(split("minicpm5", "a  1234"), (Pieces{"a", "  ", "123", "4"}));
  EXPECT_EQ(split("llama-bpe", "a  1234"), (Pieces{"a", " ", " ", "123", "4"}));
  EXPECT_EQ(split("qwen35", "e\u0301t !\u0301"), (Pieces{"e\u0301t", " !", "\u0301"}));
  EXPECT_EQ(split("ufakzeka", "Ankara'dan"), (Pieces{"Ankara", "'dan"}));
  EXPECT_EQ(split("qwen2", "Ankara'dan"), (Pieces{"Ankara", "'d", "an"}));
  EXPECT_EQ(split("seed-coder", "!\n\nx"), (Pieces{"!", "\n\n", "x"}));
}

TEST(PreTokenizers, DeepSeek) {
  EXPECT_EQ(split("deepseek-llm", "a b! 12\u6771x\n\u00e9 "),
            (Pieces{"a", " b", "!", " ", "12", "\u6771", "x", "\n", "\u00e9", " "}));
  EXPECT_EQ(split("deepseek-llm", "\u0905 "), (Pieces{"\u0905", " "}));  // white space at a piece's end
  EXPECT_EQ(split("deepseek-coder", "a+b  12,\uac00"),
            (Pieces{"a", "+", "b", "  ", "1", "2", ",", "\uac00"}));
  EXPECT_EQ(split("deepseek-v3", "(foo 1234 \u6771\u3042\uac00\x01\x02!"),
            (Pieces{"(foo", " ", "123", "4", " ", "\u6771\u3042", "\uac00", "\x01\x02", "!"}));
}

TEST(PreTokenizers, WordsBetweenSigns) {
  EXPECT_EQ(split("bloom", "a12 b,  c\u3002d"), (Pieces{"a12", " b", ", ", " c", "\u3002", "d"}));
  EXPECT_EQ(split("viking", "a12 b"), (Pieces{"a", "1", "2", " b"}));
}

TEST(PreTokenizers, SuperBpeAndChameleon) {
  EXPECT_EQ(split("superbpe", "the end 1234567 \u06631234\u0663"),
            (Pieces{"the end ", "1", "234", "567", " ", "\u06631", "234\u0663"}));
  EXPECT_EQ(split("superbpe", "12"), Pieces{"12"});
  EXPECT_EQ(split("chameleon", "a   b\nIMGIMGABZx!! IMGIMGZ"),
            (Pieces{"a", "  ", " b", "\n", "IMGIMGABZ", "x", "!", "!", " IMGIMGZ"}));
  EXPECT_EQ(split("chameleon", "<sentinel:12>"), (Pieces{"<", "sentinel", ":", "1", "2", ">"}));
}

TEST(PreTokenizers, PiecesAreTheTextAndBadBytesAreOfNoClass) {
  const std::string text = "a\xff\xc3 b\xe2\x82\n 1\xed\xa0\x80  \xf0\x9f";
  for (const PreTokenizer& rules : pretokenizers()) {
    std::string all;
    for (const std::string_view piece : split_text(rules, text)) {
      EXPECT_FALSE(piece.empty());
      all += piece;
    }
    EXPECT_EQ(all, text) << rules.name;
  }
  EXPECT_EQ(split("gpt-2", "a\xff!b"), (Pieces{"a", "\xff!", "b"}));
}

TEST(PreTokenizers, AliasesAndUnknownNames) {
  EXPECT_EQ(find_pretokenizer("llama3")->cuts.data(), find_pretokenizer("llama-bpe")->cuts.data());
  EXPECT_EQ(find_pretokenizer("deepseek-r1-qwen")->cuts.data(), find_pretokenizer("qwen2")->cuts.data());
  EXPECT_EQ(find_pretokenizer("llama"), nullptr);
  EXPECT_EQ(find_pretokenizer(""), nullptr);
}

}  // namespace
}  // namespace spectralkv
