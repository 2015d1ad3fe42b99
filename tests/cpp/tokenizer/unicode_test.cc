// UTF-8, streaming and character classes.
#include "tokenizer/unicode.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {
namespace {

using State = Utf8Char::State;

std::string utf8(char32_t code) {
  std::string out;
  append_utf8(out, code);
  return out;
}

TEST(Utf8, EveryCharacterComesBack) {
  for (char32_t code = 0; code < 0x110000; ++code) {
    if (code == 0xd800) code = 0xe000;
    const std::string bytes = utf8(code);
    const Utf8Char c = first_utf8(bytes + "x");
    ASSERT_TRUE(c.state == State::ok && c.code == code && c.length == bytes.size()) << std::uint32_t{code};
    for (std::size_t n = 1; n < bytes.size(); ++n) {
      const Utf8Char cut = first_utf8(std::string_view(bytes).substr(0, n));
      ASSERT_TRUE(cut.state == State::cut && cut.length == n && cut.code == 0xfffd) << std::uint32_t{code};
    }
  }
}

TEST(Utf8, RefusesWhatIsNoCharacter) {
  const struct {
    std::string bytes;
    std::size_t length;
  } cases[] = {{"\x80", 1},
               {"\xbf", 1},
               {"\xc0\x80", 1},
               {"\xc1\xbf", 1},
               {"\xe0\x80\x80", 1},
               {"\xed\xa0\x80", 1},
               {"\xf0\x80\x80\x80", 1},
               {"\xf4\x90\x80\x80", 1},
               {"\xf5\x80", 1},
               {"\xff", 1},
               {"\xc3(", 1},
               {"\xe2\x82(", 2},
               {"\xf0\x9f\x99(", 3}};
  for (const auto& [bytes, length] : cases) {
    const Utf8Char c = first_utf8(bytes);
    EXPECT_TRUE(c.state == State::bad && c.length == length && c.code == 0xfffd)
        << testing::PrintToString(bytes);
  }
}

// All of text through a stream, a piece for each of the cuts.
std::string streamed(std::string_view text, const std::vector<std::size_t>& cuts) {
  Utf8Stream stream;
  std::string out;
  std::size_t at = 0;
  for (const std::size_t cut : cuts) {
    const std::string part = stream.put(text.substr(at, cut - at));
    for (std::string_view rest = part; !rest.empty();) {  // each part alone is whole characters
      const Utf8Char c = first_utf8(rest);
      EXPECT_TRUE(c.state == State::ok);
      rest.remove_prefix(c.length);
    }
    out += part;
    at = cut;
  }
  out += stream.put(text.substr(at));
  return out + stream.finish();
}

TEST(Utf8Stream, AnySplitGivesTheSameText) {
  const std::string text = "aé東🙂\u0301z\U0010ffff";
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t j = i; j <= text.size(); ++j) EXPECT_EQ(streamed(text, {i, j}), text);
  }
  std::vector<std::size_t> all;
  for (std::size_t i = 1; i < text.size(); ++i) all.push_back(i);
  EXPECT_EQ(streamed(text, all), text);
}

TEST(Utf8Stream, ReplacesWhatIsNoCharacter) {
  const std::string text =
      "a\xff"
      "b\xe2\x82"
      "c\xf0\x9f\x99\xed\xa0\x80z\xc3";
  const std::string r = "\ufffd", expected = "a" + r + "b" + r + "c" + r + r + r + r + "z" + r;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    for (std::size_t j = i; j <= text.size(); ++j) EXPECT_EQ(streamed(text, {i, j}), expected);
  }
}

TEST(Utf8Stream, GivesCharactersAsSoonAsTheyAreWhole) {
  Utf8Stream stream;
  EXPECT_EQ(stream.put("a\xe6"), "a");
  EXPECT_EQ(stream.put("\x9d"), "");
  EXPECT_EQ(stream.put("\xb1\xe6"), "東");
  EXPECT_EQ(stream.put("x"), "\ufffdx");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.put("\xf0\x9f"), "");
  EXPECT_EQ(stream.finish(), "\ufffd");
  EXPECT_EQ(stream.finish(), "");
  EXPECT_EQ(stream.put("b"), "b");
}

TEST(CharMask, KnowsTheClasses) {
  const struct {
    char32_t code;
    CharMask mask;
  } cases[] = {{'A', kLetter},
               {'z', kLetter},
               {'5', kNumber},
               {' ', kSpace},
               {'\n', kSpace},
               {0x1c, 0},
               {0x85, kSpace},
               {0xa0, kSpace},
               {0x200b, 0},
               {0x3000, kSpace},
               {'\'', kPunctuation},
               {'$', kSymbol},
               {0x2014, kPunctuation},
               {0xaa, kLetter},
               {0x1c5, kLetter},
               {0x2b0, kLetter},
               {0x301, kMark},
               {0x100, kLetter},
               {0x2167, kNumber},
               {0x6771, kLetter},
               {0x1f642, kSymbol},
               {0x378, 0},
               {0x10ffff, 0},
               {0, 0},
               {0xfffd, kSymbol},
               {0x10400, kLetter},
               {0x2ebf0, kLetter},  // since Unicode 15.1
               {0x1c89, 0}};        // since Unicode 16
  for (const auto& [code, mask] : cases) EXPECT_EQ(char_mask(code), mask) << std::uint32_t{code};
}

TEST(ByteAlphabet, IsThatOfGpt2AndComesBack) {
  EXPECT_EQ(to_byte_alphabet(" \n!\xad\xff"), "ĠĊ!Ńÿ");
  for (int b = 0; b < 256; ++b) {
    const std::string byte(1, static_cast<char>(b));
    EXPECT_EQ(from_byte_alphabet(to_byte_alphabet(byte)), byte);
  }
  for (const std::string text : {"a b", "東", "aŅ", "\xff"}) EXPECT_EQ(from_byte_alphabet(text), text);
}

}  // namespace
}  // namespace spectralkv
