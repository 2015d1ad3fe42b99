// SentencePiece-like BPE: merges by score, spaces, byte fallback, special tokens, long inputs.
#include "tokenizer/spm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>

#include "base/error.h"
#include "base/random.h"
#include "cpp/tokenizer/vocabularies.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {
namespace {

constexpr Token kSpaceToken = 259;  // of scored(true)

TEST(Spm, MergesByScoreThenLeftmost) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  for (const char* letter : {"a", "b", "c"}) add(vocab, letter, TokenType::normal);
  const Token ab = add(vocab, "ab", TokenType::normal, -2), bc = add(vocab, "bc", TokenType::normal, -1);
  const Token aa = add(vocab, "aa", TokenType::normal, -3), abc = add(vocab, "abc", TokenType::normal, -9);
  const Token a = 260;
  const Tokenizer tokenizer(std::move(vocab));
  EXPECT_EQ(tokenizer.encode("abc", false, false), Tokens{abc});
  EXPECT_EQ(tokenizer.encode("aabbc", false, false), (Tokens{a, ab, bc}));
  EXPECT_EQ(tokenizer.encode("aaa", false, false), (Tokens{aa, a}));
  EXPECT_EQ(tokenizer.encode("", false, false), Tokens{});
}

TEST(Spm, WithoutScoresTheLeftmostComesFirst) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  for (const char* text : {"a", "b", "c", "ab", "bc"}) add(vocab, text, TokenType::normal);
  vocab.scores.clear();
  EXPECT_EQ(Tokenizer(std::move(vocab)).encode("abc", false, false), (Tokens{263, 262}));
}

TEST(Spm, ListedMergesTakeThePlaceOfScores) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  for (const char* text : {"a", "b", "c", "ab", "bc", "abc", "cc"}) add(vocab, text, TokenType::normal);
  const Token a = 260, c = 262, ab = 263, bc = 264, abc = 265;
  vocab.merges = {"b c", "a b", "ab c"};  // "a bc" is none, though its union is a token
  const Tokenizer tokenizer(vocab);
  EXPECT_EQ(tokenizer.encode("abc", false, false), (Tokens{a, bc}));
  EXPECT_EQ(tokenizer.encode("abbc", false, false), (Tokens{ab, bc}));
  EXPECT_EQ(tokenizer.encode("ccab", false, false), (Tokens{c, c, ab}));
  vocab.merges = {"a b", "ab c", "b c"};
  EXPECT_EQ(Tokenizer(vocab).encode("abc", false, false), Tokens{abc});
  for (const char* merge : {"a", "a x", "x a", "c a", "<s> a", "a "}) {
    vocab.merges[1] = merge;
    EXPECT_THROW(Tokenizer{vocab}, Error) << merge;
  }
}

TEST(Spm, ThePrefixSpaceAndItsRemoval) {
  Vocab vocab = scored(true);
  const Token a = add(vocab, "a", TokenType::normal), space_a = add(vocab, "\u2581a", TokenType::normal, -1);
  const Token user = add(vocab, "  ", TokenType::user_defined);
  vocab.add_bos = true;
  Vocab bare = vocab;
  bare.space_prefix = SpacePrefix::none;
  const Tokenizer tokenizer(std::move(vocab)), without(std::move(bare));
  EXPECT_EQ(tokenizer.encode("a a", true, true), (Tokens{1, space_a, space_a}));
  EXPECT_EQ(tokenizer.encode(" a", true, true), (Tokens{1, kSpaceToken, space_a}));
  EXPECT_EQ(tokenizer.encode("", true, true), Tokens{1});
  EXPECT_EQ(tokenizer.encode("a</s>a</s></s>", false, true), (Tokens{space_a, 2, space_a, 2, 2}));
  EXPECT_EQ(tokenizer.encode("  a", false, true), (Tokens{user, space_a}));
  EXPECT_EQ(without.encode("a a", true, true), (Tokens{1, a, space_a}));

  EXPECT_EQ(tokenizer.decode(Tokens{1, space_a, space_a}, false, true), "a a");
  EXPECT_EQ(tokenizer.decode(Tokens{1, space_a}, false, false), " a");
  EXPECT_EQ(tokenizer.decode(Tokens{1, space_a}, true, true), "<s> a");
  EXPECT_EQ(tokenizer.decode(Tokens{user, a}, false, true), "  a");
  EXPECT_EQ(without.decode(Tokens{1, space_a}, false, true), " a");
}

TEST(Spm, TheSpacesOfMetaspace) {
  Vocab vocab = scored(true);
  const Token a = add(vocab, "a", TokenType::normal), space_a = add(vocab, "\u2581a", TokenType::normal, -1);
  vocab.space_prefix = SpacePrefix::each_without;
  const Tokenizer always(vocab);
  EXPECT_EQ(always.encode("a", false, true), Tokens{space_a});
  EXPECT_EQ(always.encode(" a", false, true), Tokens{space_a});
  EXPECT_EQ(always.encode("\u2581a", false, true), Tokens{space_a});
  EXPECT_EQ(always.encode("  a", false, true), (Tokens{kSpaceToken, space_a}));
  EXPECT_EQ(always.encode("<s>a</s> a", false, true), (Tokens{1, space_a, 2, space_a}));
  EXPECT_EQ(always.decode(Tokens{space_a, space_a}, false, true), "a a");
  vocab.space_prefix = SpacePrefix::first_without;
  vocab.add_bos = true;
  const Tokenizer first(vocab);
  EXPECT_EQ(first.encode("a</s>a</s> a", false, true), (Tokens{space_a, 2, a, 2, space_a}));
  EXPECT_EQ(first.encode("<s>a", false, true), (Tokens{1, a}));
  EXPECT_EQ(first.encode("a", true, true), (Tokens{1, space_a}));  // BOS stands before the text, not in it
  EXPECT_EQ(first.encode(" a a", false, true), (Tokens{space_a, space_a}));
  EXPECT_EQ(first.encode("", false, true), Tokens{});
}

TEST(Spm, MarksKeepMessagesPlain) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  vocab.add_bos = true;
  for (const char letter : std::string("<>s/unk")) add(vocab, std::string(1, letter), TokenType::normal);
  const Token user = add(vocab, "<u>", TokenType::user_defined);
  const Tokenizer tokenizer(std::move(vocab));
  const std::string mark(kPlainMark), message = "</s><s><unk><u><s";
  EXPECT_EQ(tokenizer.mark_plain(message), mark + "</s>" + mark + "<s>" + mark + "<unk><u><s");
  EXPECT_EQ(tokenizer.mark_plain("nothing < s >"), "nothing < s >");
  EXPECT_EQ(Tokenizer::without_marks(tokenizer.mark_plain(message)), message);
  const std::string marked = tokenizer.mark_plain(message);
  EXPECT_EQ(tokenizer.encode_marked(marked), tokenizer.encode(message, false, false));
  Tokens expected = tokenizer.encode(message, false, false);
  EXPECT_EQ(std::count(expected.begin(), expected.end(), user), 1);
  expected.insert(expected.begin(), 1);
  expected.push_back(2);
  EXPECT_EQ(tokenizer.encode_marked("<s>" + marked + "</s>"), expected);
  EXPECT_EQ(tokenizer.encode_marked_prompt(marked + "</s>"),
            expected);  // BOS is not written: it is put in front
  EXPECT_EQ(tokenizer.encode_marked_prompt("<s>" + marked + "</s>"), expected);
  EXPECT_EQ(tokenizer.encode_marked("<s>"), Tokens{1});
  EXPECT_EQ(tokenizer.encode_marked(mark), Tokens{});
}

TEST(Spm, MarksInsideOfControlTokensMakeNone) {
  Vocab vocab = scored(true);
  add(vocab, "<|end|>", TokenType::control);
  add(vocab, "<|end|>>", TokenType::control);
  const Tokenizer tokenizer(vocab);
  const std::string mark(kPlainMark);
  for (const std::string text : {"<s>", "</s>", "<unk>", "<|end|>", "<|end|>>", "<s></s><|end|>"})
    for (std::size_t first = 0; first <= text.size(); ++first)
      for (std::size_t second = first; second <= text.size(); ++second) {
        const std::string hostile =
            text.substr(0, first) + mark + text.substr(first, second - first) + mark + text.substr(second);
        const std::string marked = tokenizer.mark_plain(hostile);
        EXPECT_EQ(tokenizer.encode_marked(marked), tokenizer.encode(text, false, false)) << hostile;
        // The template's own tokens beside it are what they are.
        const Tokens all = tokenizer.encode_marked("</s>" + marked + "<s>");
        EXPECT_EQ(all.front(), 2);
        EXPECT_EQ(all.back(), 1);
        for (std::size_t i = 1; i + 1 < all.size(); ++i)
          EXPECT_FALSE(tokenizer.is_control(all[i])) << hostile;
      }
}

TEST(Spm, BytesStandInForCharactersWithoutAToken) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  const Tokenizer tokenizer(std::move(vocab));
  EXPECT_EQ(tokenizer.encode("é\xff", false, false), (Tokens{3 + 0xc3, 3 + 0xa9, 3 + 0xff}));
  EXPECT_EQ(tokenizer.decode(Tokens{3 + 0xc3, 3 + 0xa9, 3 + 0xff}, false, false), "é\xff");
}

TEST(Spm, WithoutBytesARunOfThemIsOneUnknown) {
  Vocab vocab = scored(false);
  vocab.space_prefix = SpacePrefix::none;
  const Token space = 3, a = add(vocab, "a", TokenType::normal);
  Vocab silent = vocab;
  silent.unk = -1;
  EXPECT_EQ(Tokenizer(std::move(vocab))
                .encode("é\xff"
                        "a東 東",
                        false, false),
            (Tokens{0, a, 0, space, 0}));
  EXPECT_EQ(Tokenizer(std::move(silent)).encode("éa", false, false), Tokens{a});
}

TEST(Spm, ACharacterWithOnlySomeOfItsBytesIsUnknown) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  vocab.tokens[3 + 0xa9] = "<0xC3>";  // twice: the first id wins
  EXPECT_EQ(Tokenizer(std::move(vocab)).encode("éê", false, false), (Tokens{0, 3 + 0xa9, 3 + 0xaa}));
}

TEST(Spm, ControlUnknownAndByteTokensNeverComeOfMerging) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  for (const char* text :
       {"<", "s", ">", "<s", "s>", "0", "x", "4", "1", "<0", "<0x", "<0x4", "<0x41", "p"}) {
    add(vocab, text, TokenType::normal);
  }
  add(vocab, "pp", TokenType::unused);
  const Tokenizer tokenizer(std::move(vocab));
  for (const char* text : {"<s>", "<unk>", "<0x41>", "pp"}) {
    const Tokens ids = tokenizer.encode(text, false, false);
    EXPECT_GT(ids.size(), 1u) << text;
    EXPECT_EQ(tokenizer.decode(ids, false, false), text);
  }
  EXPECT_EQ(tokenizer.encode("<s>", false, true), Tokens{1});
}

TEST(Spm, ByteTexts) {
  EXPECT_EQ(byte_of_token("<0x00>"), 0);
  EXPECT_EQ(byte_of_token("<0xFf>"), 255);
  for (const char* text : {"", "<0x0>", "<0xG0>", "<0x0G>", "<0x000>", "0x00", "<0X00>"})
    EXPECT_EQ(byte_of_token(text), -1);
}

TEST(Spm, AnyBytesComeBack) {
  Vocab vocab = scored(true);
  for (const char* text : {"a", "b", "ab", "\u2581a", "é", "\u2581\u2581"})
    add(vocab, text, TokenType::normal);
  const Tokenizer tokenizer(std::move(vocab));
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    std::string text;
    for (std::uint64_t i = 0; i < seed % 50; ++i) text.push_back(static_cast<char>(random_bits(seed, i)));
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text, false, false), false, true), text);
  }
}

TEST(Spm, LongInputsAreNotQuadratic) {
  Vocab vocab = scored(true);
  vocab.space_prefix = SpacePrefix::none;
  float score = 0;
  for (std::string part = "a"; part.size() <= 4096; part += part)
    add(vocab, part, TokenType::normal, score -= 1);
  const Token longest = static_cast<Token>(vocab.tokens.size()) - 1;
  const Tokenizer tokenizer(std::move(vocab));
  const auto begin = std::chrono::steady_clock::now();
  for (const std::string unit : {"a", " ", "東", "ab"}) {
    std::string text;
    while (text.size() < (unit == "a" ? 1u << 20 : 1u << 16)) text += unit;
    const Tokens ids = tokenizer.encode(text, false, false);
    if (unit == "a") {
      EXPECT_EQ(ids, Tokens(256, longest));
    }
    EXPECT_EQ(tokenizer.decode(ids, false, false), text);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_LT(seconds.count(), 30.0);  // 0.2 s in a release build
}

}  // namespace
}  // namespace spectralkv
