// Texts of other encodings are told, not measured.
#include "cli/text_encoding.h"

#include <gtest/gtest.h>

#include <string_view>

#include "base/error.h"

namespace spectralkv::text_encoding_test {
namespace {

using namespace std::string_view_literals;

struct Result {
  std::string text, warning, error;
};

Result read(std::string_view bytes) {
  Result result;
  try {
    result.text = plain_text(std::string(bytes), "'a.txt'", result.warning);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::value);
    result.error = error.what();
  }
  return result;
}

std::string wide(std::string_view ascii, std::size_t before, std::size_t behind) {
  std::string out;
  for (const char c : ascii) {
    out.append(before, '\0');
    out.push_back(c);
    out.append(behind, '\0');
  }
  return out;
}

TEST(TextEncoding, Utf8StaysAsItIs) {
  for (const std::string_view text : {""sv, "a"sv, "plain\n"sv, "caf\u00e9 \U0001f600\n"sv}) {
    const Result result = read(text);
    EXPECT_EQ(result.text, text);
    EXPECT_EQ(result.warning + result.error, "") << text;
  }
}

TEST(TextEncoding, TheMarkGoes) {
  EXPECT_EQ(read("\ufeffThe text").text, "The text");
  EXPECT_EQ(read("\ufeff").text, "");
  EXPECT_EQ(read("a\ufeffb").text, "a\ufeffb");  // inside it is a character
  EXPECT_EQ(read("\ufeff").warning, "");
}

TEST(TextEncoding, WideCharactersAreRefused) {
  const std::string_view text = "A line of text.\n";
  for (const std::string& bytes : {concat("\xff\xfe", wide(text, 0, 1)), concat("\xfe\xff", wide(text, 1, 0)),
                                   wide(text, 0, 1), wide(text, 1, 0), concat("\xff\xfe", "\xe9\x01")})
    EXPECT_NE(read(bytes).error.find("'a.txt' is a text in UTF-16, and models read UTF-8"),
              std::string::npos);
  for (const std::string& bytes : {std::string("\xff\xfe\0\0"sv) + wide(text, 0, 3), wide(text, 0, 3),
                                   std::string("\0\0\xfe\xff"sv) + wide(text, 3, 0), wide(text, 3, 0)})
    EXPECT_NE(read(bytes).error.find("is a text in UTF-32"), std::string::npos);
}

TEST(TextEncoding, OtherBytesAreTold) {
  const Result latin = read("one\ncaf\xe9 \xe0 la\n");
  EXPECT_EQ(latin.text, "one\ncaf\xe9 \xe0 la\n");
  EXPECT_EQ(latin.warning,
            "'a.txt' is no UTF-8 text: 2 bytes are of no character, the first at offset 7, in line 2; is it "
            "Latin-1? (`iconv -f LATIN1 -t UTF-8`)");
  EXPECT_NE(read("\xe9").warning.find("1 byte is of no character, the first at offset 0, in line 1"),
            std::string::npos);
  EXPECT_NE(read("cut \xf0\x9f\x98").warning.find("3 bytes are"), std::string::npos);
  EXPECT_EQ(read("a\0b"sv).warning, "'a.txt' has NUL bytes: is it a text?");
  EXPECT_EQ(read("a\0b"sv).text, "a\0b"sv);
}

}  // namespace
}  // namespace spectralkv::text_encoding_test
