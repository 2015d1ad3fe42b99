// Byte-level BPE: the order of merges, whole pieces, special tokens, bytes without tokens, long inputs.
#include <gtest/gtest.h>

#include <chrono>
#include <set>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "cpp/tokenizer/vocabularies.h"
#include "tokenizer/pretokenizers.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {
namespace {

TEST(Bpe, MergesByRankThenLeftmost) {
  const Tokenizer tokenizer(byte_level({"b c", "a b", "a bc", "a a", "aa a"}));
  const Token bc = 256, ab = 257, abc = 258, aa = 259, aaa = 260;
  EXPECT_EQ(tokenizer.encode("abc", false, false), Tokens{abc});  // b c comes before a b
  EXPECT_EQ(tokenizer.encode("abbc", false, false), (Tokens{ab, bc}));
  EXPECT_EQ(tokenizer.encode("aaa", false, false), Tokens{aaa});        // the left pair first
  EXPECT_EQ(tokenizer.encode("aaaa", false, false), (Tokens{aa, aa}));  // not aaa + a
  EXPECT_EQ(tokenizer.encode("aaaaa", false, false), (Tokens{aa, aaa}));
  EXPECT_EQ(tokenizer.encode("", false, false), Tokens{});
}

TEST(Bpe, APairListedTwiceKeepsItsFirstRank) {
  Vocab vocab = byte_level({"a b", "b c"});
  vocab.merges.push_back("a b");
  EXPECT_EQ(Tokenizer(std::move(vocab)).encode("abc", false, false), (Tokens{256, 'c'}));
}

TEST(Bpe, WholePiecesOnlyWhereTheRulesSaySo) {
  for (const PreTokenizer& rules : pretokenizers()) {
    Vocab vocab = byte_level({}, std::string(rules.name));
    const Token whole = add(vocab, "Ġab", TokenType::normal);
    add(vocab, "cd", TokenType::control);
    const Tokenizer tokenizer(std::move(vocab));
    EXPECT_EQ(tokenizer.encode(" ab", false, false),
              rules.ignore_merges ? Tokens{whole} : (Tokens{' ', 'a', 'b'}));
    EXPECT_EQ(tokenizer.encode("cd", false, false), (Tokens{'c', 'd'}));  // never a control token
  }
}

TEST(Bpe, SpecialTokensTheLongestFirst) {
  Vocab vocab = byte_level({"< |"});
  const Token end = add(vocab, "<|end|>", TokenType::control),
              longer = add(vocab, "<|end|>>", TokenType::control);
  const Token user = add(vocab, "<|", TokenType::user_defined), unk = add(vocab, "<unk>", TokenType::unknown);
  const Token space = add(vocab, "a b", TokenType::user_defined),
              accent = add(vocab, "é", TokenType::user_defined);
  vocab.bos = end;
  vocab.eos = longer;
  vocab.add_bos = vocab.add_eos = true;
  const Tokenizer tokenizer(std::move(vocab));
  EXPECT_EQ(tokenizer.encode("<|end|>><|end|>x<unk>", false, true), (Tokens{longer, end, 'x', unk}));
  EXPECT_EQ(tokenizer.encode("<|end|>", false, false), (Tokens{user, 'e', 'n', 'd', '|', '>'}));
  EXPECT_EQ(tokenizer.encode("<|en", false, true), (Tokens{user, 'e', 'n'}));
  EXPECT_EQ(tokenizer.encode("a bé", true, false), (Tokens{end, space, accent, longer}));
  EXPECT_EQ(tokenizer.decode(Tokens{end, space, accent, unk, 'x'}, false, false), "a béx");
  EXPECT_EQ(tokenizer.decode(Tokens{end, space, accent, unk, 'x'}, true, false), "<|end|>a bé<unk>x");
}

TEST(Bpe, BytesWithoutATokenAreLeftOut) {
  for (const TokenType type : {TokenType::unknown, TokenType::normal, TokenType::control}) {
    Vocab vocab = byte_level();
    vocab.tokens[0xff] = "gone";
    vocab.unk = add(vocab, "<unk>", type);
    const std::string text = std::string("a\xff\xff") + "b";
    EXPECT_EQ(Tokenizer(std::move(vocab)).encode(text, false, false), (Tokens{'a', 'b'}));
  }
}

TEST(Bpe, AnyBytesComeBack) {
  for (const PreTokenizer& rules : pretokenizers()) {
    const Tokenizer tokenizer(byte_level({"a b", "Ġ Ġ", "Ã ©"}, std::string(rules.name)));
    for (std::uint64_t seed = 0; seed < 300; ++seed) {
      std::string text;
      for (std::uint64_t i = 0; i < seed % 50; ++i) text.push_back(static_cast<char>(random_bits(seed, i)));
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, true, true), true, false), text);
    }
  }
}

TEST(Bpe, IdsOutOfRangeAreErrors) {
  const Tokenizer tokenizer(byte_level());
  EXPECT_THROW(tokenizer.piece(-1, true), Error);
  EXPECT_THROW(tokenizer.piece(256, true), Error);
  EXPECT_THROW(tokenizer.decode(Tokens{1, 256}, true, true), Error);
  EXPECT_THROW(tokenizer.is_control(256), Error);
  EXPECT_FALSE(tokenizer.is_end(-1));
  EXPECT_FALSE(tokenizer.is_end(256));
}

TEST(Bpe, EndTokens) {
  Vocab vocab = byte_level();
  vocab.eos = 1, vocab.eot = 2, vocab.eom = 3, vocab.more_eog = {5, 6}, vocab.bos = 7;
  const Tokenizer tokenizer(std::move(vocab));
  for (Token id = 0; id < 256; ++id) {
    EXPECT_EQ(tokenizer.is_end(id), id == 1 || id == 2 || id == 3 || id == 5 || id == 6) << id;
  }
}

TEST(Bpe, CanBeMoved) {
  Tokenizer first(byte_level({"a b"}));
  const Tokenizer second(std::move(first));
  EXPECT_EQ(second.encode("ab", false, false), Tokens{256});
  EXPECT_EQ(second.n_vocab(), 257);
}

TEST(Bpe, LongInputsAreNotQuadratic) {
  std::vector<std::string> merges;  // a a, aa aa, ... up to 4096 of them
  for (std::string part = "a"; part.size() < 4096; part += part) merges.push_back(part + " " + part);
  std::set<const Cut*> seen;  // names that share their cuts are one case
  for (const PreTokenizer& rules : pretokenizers()) {
    if (!seen.insert(rules.cuts.data()).second) continue;
    const Tokenizer tokenizer(byte_level(merges, std::string(rules.name)));
    const auto begin = std::chrono::steady_clock::now();
    for (const std::string unit :
         {"a",  "A",        " ",           "\n",      " \n",     "1",         "!",
          "'",  "東",       "\xff",        "\u0301A", "\u00c9A", "AAA\u00c9", "\u00c9a",
          "1 ", "\u0663\t", "<sentinel:1", "IMGIMGA", "\x01",    "한1"}) {
      const std::size_t size = unit == "a" && rules.name == "gpt-2" ? 1u << 20 : 1u << 16;
      std::string text;
      while (text.size() < size) text += unit;
      const Tokens ids = tokenizer.encode(text, false, false);
      if (unit == "a") {
        EXPECT_EQ(ids, Tokens(size / 4096, 267)) << rules.name;
      }
      EXPECT_EQ(tokenizer.decode(ids, false, false), text);
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    EXPECT_LT(seconds.count(), 30.0) << rules.name;  // 0.2 s in a release build
  }
}

}  // namespace
}  // namespace spectralkv
