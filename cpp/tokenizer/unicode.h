// UTF-8 and the character classes that the pre-tokenizers ask about.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace spectralkv {

// What the head of a byte string is.
struct Utf8Char {
  enum class State {
    ok,   // a character
    bad,  // bytes that no character begins with
    cut,  // a character whose end is missing: more bytes may complete it
  };
  char32_t code;       // U+FFFD unless ok
  std::size_t length;  // bytes of the character; otherwise those that are one mistake (Unicode's maximal
                       // subpart), >= 1
  State state;
};

// The first character of bytes, which are not empty. Strict: no surrogates, no overlong forms, none past
// U+10FFFF.
Utf8Char first_utf8(std::string_view bytes);

// Appends a code point below 0x110000.
void append_utf8(std::string& out, char32_t code);

// Classes of characters, as bits; \s is the property White_Space. A character of none of them has mask 0.
using CharMask = std::uint8_t;
inline constexpr CharMask kLetter = 1, kMark = 2, kNumber = 4, kPunctuation = 8, kSymbol = 16;  // L M N P S
inline constexpr CharMask kSpace = 32;                                                          // \s

CharMask char_mask(char32_t code);

}  // namespace spectralkv
