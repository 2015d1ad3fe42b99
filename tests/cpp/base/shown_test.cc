// What a terminal would obey is shown as what it is.
#include "base/shown.h"

#include <gtest/gtest.h>

namespace spectralkv {
namespace {

TEST(Shown, TextStaysAsItIs) {
  for (const char* text : {"", "plain\n\ttext", "caf\u00e9 \u4e2d\u6587 \U0001f600",
                           "\u00a0\u2014\u2026\u2020", "\xff\xe9 no UTF-8", "\xe2", "\xc2", "\xe2\x80"})
    EXPECT_EQ(shown(text), text);
}

TEST(Shown, ControlCharactersAreEscaped) {
  EXPECT_EQ(shown("\033[31mred\033]0;title\a"), "\\x1b[31mred\\x1b]0;title\\x07");
  EXPECT_EQ(shown("a\rb\bc\x7f"), "a\\x0db\\x08c\\x7f");
  EXPECT_EQ(shown(std::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(shown("\u009b31m\u0085"), "\\x9b31m\\x85");
}

TEST(Shown, MarksThatTurnTheDirection) {
  EXPECT_EQ(shown("a\u202eb\u2066c\u2069"), "a\\u{202e}b\\u{2066}c\\u{2069}");
  EXPECT_EQ(shown("\u200e\u200f\u061c\u2028"), "\\u{200e}\\u{200f}\\u{061c}\\u{2028}");
}

TEST(ShellWord, IsQuotedWhereItNeedsIt) {
  EXPECT_EQ(shell_word("models/a-1.5B.gguf"), "models/a-1.5B.gguf");
  EXPECT_EQ(shell_word("two words"), "'two words'");
  EXPECT_EQ(shell_word("it's $HOME"), "'it'\\''s $HOME'");
  EXPECT_EQ(shell_word(""), "''");
}

}  // namespace
}  // namespace spectralkv
