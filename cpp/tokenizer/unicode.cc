// UTF-8 decoding after the Unicode standard's table 3-7, and the search in the table of character classes.
#include "tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace spectralkv {
namespace {

constexpr std::uint32_t kRanges[] = {
#include "tokenizer/unicode_table.inl"
};

constexpr CharMask mask_of(char32_t code) {
  const std::uint32_t key = static_cast<std::uint32_t>(code) << 4 | 15u;
  const std::uint32_t range = *std::prev(std::upper_bound(std::begin(kRanges), std::end(kRanges), key));
  constexpr CharMask masks[] = {0, kSpace, kNumber, kMark, kLetter, kPunctuation, kSymbol};
  return masks[range & 15u];
}

constexpr auto kAscii = [] {
  std::array<CharMask, 128> table{};
  for (char32_t code = 0; code < 128; ++code) table[code] = mask_of(code);
  return table;
}();

}  // namespace

CharMask char_mask(char32_t code) {
  return code < kAscii.size() ? kAscii[code] : mask_of(code);
}

Utf8Char first_utf8(std::string_view bytes) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const auto wrong = [](std::size_t length, Utf8Char::State state) {
    return Utf8Char{0xfffd, length, state};
  };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, Utf8Char::State::ok};
  if (lead < 0xc2 || lead > 0xf4) return wrong(1, Utf8Char::State::bad);
  const std::size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t code = lead & (0x7fu >> length);
  // The second byte's range is narrower after four leads: overlong forms, surrogates, the end of the code
  // space.
  std::uint8_t low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  std::uint8_t high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (std::size_t i = 1; i < length; ++i, low = 0x80, high = 0xbf) {
    if (i == bytes.size()) return wrong(i, Utf8Char::State::cut);
    if (byte(i) < low || byte(i) > high) return wrong(i, Utf8Char::State::bad);
    code = code << 6 | (byte(i) & 0x3fu);
  }
  return {code, length, Utf8Char::State::ok};
}

void append_utf8(std::string& out, char32_t code) {
  const auto tail = [&](int shift) { out.push_back(static_cast<char>(0x80u | (code >> shift & 0x3fu))); };
  if (code < 0x80) {
    out.push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out.push_back(static_cast<char>(0xc0u | code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    out.push_back(static_cast<char>(0xe0u | code >> 12));
    tail(6), tail(0);
  } else {
    out.push_back(static_cast<char>(0xf0u | code >> 18));
    tail(12), tail(6), tail(0);
  }
}

}  // namespace spectralkv
