// The alphabet of byte-level BPE: each byte is written as one visible character.
// Bytes that are visible characters of Latin-1 (! to ~, U+00A1 to U+00AC, U+00AE to U+00FF) stand for
// themselves; the other 68, in order, are U+0100, U+0101 and so on: the space is U+0120.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "tokenizer/unicode.h"

namespace spectralkv {

struct ByteAlphabet {
  std::array<char32_t, 256> character{};  // of each byte
  std::array<std::int16_t, 324> byte{};   // of each character below U+0144; -1: none
};

constexpr ByteAlphabet make_byte_alphabet() {
  ByteAlphabet alphabet;
  alphabet.byte.fill(-1);
  char32_t next = 0x100;
  for (unsigned b = 0; b < 256; ++b) {
    const bool visible = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
    const char32_t character = visible ? b : next++;
    alphabet.character[b] = character;
    alphabet.byte[character] = static_cast<std::int16_t>(b);
  }
  return alphabet;
}

inline constexpr ByteAlphabet kByteAlphabet = make_byte_alphabet();

// bytes in the alphabet, as UTF-8.
inline std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, kByteAlphabet.character[static_cast<std::uint8_t>(b)]);
  return out;
}

// The bytes that a token of the alphabet spells; a text with any other character stands for itself.
inline std::string from_byte_alphabet(std::string_view token) {
  std::string out;
  for (std::string_view rest = token; !rest.empty();) {
    const Utf8Char c = first_utf8(rest);
    if (c.code >= kByteAlphabet.byte.size() || kByteAlphabet.byte[c.code] < 0) return std::string(token);
    out.push_back(static_cast<char>(kByteAlphabet.byte[c.code]));
    rest.remove_prefix(c.length);
  }
  return out;
}

}  // namespace spectralkv
