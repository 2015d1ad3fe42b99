// Byte order marks, the zeros of wide characters, bytes that no UTF-8 has, and backslashes.
#include "cli/text_encoding.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/error.h"
#include "tokenizer/unicode.h"

namespace spectralkv {
namespace {

using namespace std::string_view_literals;

// The encoding of wide characters that a text is in, or "". Without a mark: Latin letters have zeros in every
// second byte.
std::string_view wide_encoding(std::string_view bytes) {
  if (bytes.starts_with("\xff\xfe\0\0"sv) || bytes.starts_with("\0\0\xfe\xff"sv)) return "UTF-32";
  if (bytes.starts_with("\xff\xfe"sv) || bytes.starts_with("\xfe\xff"sv)) return "UTF-16";
  const std::string_view head = bytes.substr(0, 4096);
  std::array<std::size_t, 4> zeros{};  // at places that leave this remainder
  for (std::size_t i = 0; i < head.size(); ++i) zeros[i % 4] += head[i] == '\0' ? 1 : 0;
  const std::size_t even = zeros[0] + zeros[2], odd = zeros[1] + zeros[3], most = head.size() / 2;
  if (most == 0 || even + odd == 0) return "";
  if (bytes.size() % 4 == 0 && std::count(zeros.begin(), zeros.end(), head.size() / 4) == 3) return "UTF-32";
  if (bytes.size() % 2 == 0 && std::min(even, odd) == 0 && std::max(even, odd) > most / 2) return "UTF-16";
  return "";
}

}  // namespace

std::string plain_text(std::string bytes, const std::string& name, std::string& warning) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  warning.clear();
  if (bytes.starts_with(kByteOrderMark)) bytes.erase(0, kByteOrderMark.size());
  const std::string_view wide = wide_encoding(bytes);
  check(wide.empty(), "cli", name, " is a text in ", wide,
        ", and models read UTF-8: `iconv -t UTF-8` turns it into that");
  std::size_t bad = 0, first = 0, line = 1, first_line = 0;
  for (std::string_view rest = bytes; !rest.empty();) {
    const Utf8Char c = first_utf8(rest);
    if (rest[0] == '\n') ++line;
    if (c.state != Utf8Char::State::ok) {
      if (bad == 0) first = bytes.size() - rest.size(), first_line = line;
      bad += c.length;
    }
    rest.remove_prefix(c.length);
  }
  if (bad > 0)
    warning = concat(name, " is no UTF-8 text: ", bad, bad == 1 ? " byte is" : " bytes are",
                     " of no character, the first at offset ", first, ", in line ", first_line,
                     "; is it Latin-1? (`iconv -f LATIN1 -t UTF-8`)");
  else if (bytes.find('\0') != std::string::npos)
    warning = concat(name, " has NUL bytes: is it a text?");
  return bytes;
}

std::string unescaped(const std::string& text) {
  constexpr std::string_view kLetters = "nrt'\"\\", kMeanings = "\n\r\t'\"\\";
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 1 == text.size()) {
      out += text[i];
      continue;
    }
    const char letter = text[++i];
    if (const std::size_t known = kLetters.find(letter); known != std::string_view::npos) {
      out += kMeanings[known];
    } else if (letter == 'x' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0) {
      out += static_cast<char>(16 * digit(text[i + 1]) + digit(text[i + 2]));
      i += 2;
    } else {
      out += {'\\', letter};
    }
  }
  return out;
}

}  // namespace spectralkv
