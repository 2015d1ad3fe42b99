// Pre-tokenizers: the rules that cut a text into the pieces inside which byte-level BPE merges. A table of
// rows.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/unicode.h"

namespace spectralkv {

// A text as characters. What is no UTF-8 counts as U+FFFD; white space outside ASCII has the code U+000B, so
// that no rule names one of it otherwise than by its class.
struct Chars {
  explicit Chars(std::string_view text);
  std::size_t size() const { return codes.size(); }

  std::vector<char32_t> codes;      // [n]
  std::vector<CharMask> masks;      // [n]
  std::vector<std::size_t> starts;  // [n + 1] byte offsets
};

// Appends the ends, ascending, of the pieces that the characters from `begin` to `end` (begin < end) are cut
// into; the last is `end`.
using Cut = void (*)(const Chars& chars, std::size_t begin, std::size_t end, std::vector<std::size_t>& ends);

struct PreTokenizer {
  std::string_view name;      // tokenizer.ggml.pre
  std::span<const Cut> cuts;  // each is applied to the pieces that the one before leaves
  bool ignore_merges;         // a piece that is a token as it stands is that token
  bool add_bos;               // where a file does not say it: tokenizer.ggml.add_bos_token
};

std::span<const PreTokenizer> pretokenizers();
// nullptr when there is none of that name.
const PreTokenizer* find_pretokenizer(std::string_view name);

// The pieces of a text, in order; together they are the text.
std::vector<std::string_view> split_text(const PreTokenizer& rules, std::string_view text);

}  // namespace spectralkv
