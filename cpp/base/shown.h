// Text on its way to a terminal.
#pragma once

#include <string>
#include <string_view>

namespace spectralkv {

// The text with \xNN and \u{NNNN} in place of what a terminal would obey: control characters other than line
// feed and tab, and marks that turn the direction of writing. Bytes that are no UTF-8 stay: names have them.
std::string shown(std::string_view text);

// A word as a shell takes it, with quotes where it needs them.
std::string shell_word(const std::string& word);

// The character at the start of a text, which is not empty, if a terminal would obey it: its code point and
// bytes. Else length is 0.
struct Obeyed {
  char32_t code = 0;
  std::size_t length = 0;
};
Obeyed obeyed_at_start(std::string_view text);

}  // namespace spectralkv
