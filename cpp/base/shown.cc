// C0, DEL, C1, the bidirectional marks and the line separators, as UTF-8 has them.
#include "base/shown.h"

#include <cstdio>

namespace spectralkv {

Obeyed obeyed_at_start(std::string_view text) {
  const auto byte = [&](std::size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : static_cast<unsigned char>(0);
  };
  if (byte(0) < 0x20 || byte(0) == 0x7f) return {byte(0), 1};
  if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) < 0xa0) return {byte(1), 2};
  if (byte(0) == 0xd8 && byte(1) == 0x9c) return {0x61c, 2};
  if (byte(0) != 0xe2) return {};
  const char32_t code = 0x2000u + ((byte(1) & 0x3fu) << 6) + (byte(2) & 0x3fu);
  const bool in_block = (byte(1) & 0xc0) == 0x80 && (byte(2) & 0xc0) == 0x80;
  const bool turns = code == 0x200e || code == 0x200f || (code >= 0x2028 && code <= 0x202e) ||
                     (code >= 0x2066 && code <= 0x2069);
  return in_block && turns ? Obeyed{code, 3} : Obeyed{};
}

std::string shown(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Obeyed obeyed = text[0] == '\n' || text[0] == '\t' ? Obeyed{} : obeyed_at_start(text);
    if (obeyed.length == 0) {
      out += text[0];
      text.remove_prefix(1);
      continue;
    }
    char escape[16];
    std::snprintf(escape, sizeof escape, obeyed.code < 0x100 ? "\\x%02x" : "\\u{%04x}",
                  static_cast<unsigned>(obeyed.code));
    out += escape;
    text.remove_prefix(obeyed.length);
  }
  return out;
}

std::string shell_word(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+,=@%:";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

}  // namespace spectralkv
