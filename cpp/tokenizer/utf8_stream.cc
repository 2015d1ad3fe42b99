// Streaming decode: bytes of tokens in, whole characters out.
#include "tokenizer/tokenizer.h"
#include "tokenizer/unicode.h"

namespace spectralkv {

std::string Utf8Stream::put(std::string_view bytes) {
  held_.append(bytes);
  std::string out;
  std::string_view rest = held_;
  while (!rest.empty()) {
    const Utf8Char c = first_utf8(rest);
    if (c.state == Utf8Char::State::cut) break;
    if (c.state == Utf8Char::State::ok) {
      out.append(rest.substr(0, c.length));
    } else {
      append_utf8(out, c.code);
    }
    rest.remove_prefix(c.length);
  }
  held_.erase(0, held_.size() - rest.size());
  return out;
}

std::string Utf8Stream::finish() {
  std::string out;
  if (!held_.empty()) append_utf8(out, 0xfffd);  // put left at most one character, cut
  held_.clear();
  return out;
}

}  // namespace spectralkv
