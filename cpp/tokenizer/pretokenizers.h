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

// A text as characters; what is no UTF-8 counts as U+FFFD, of no class.
struct Chars {
  explicit Chars(std::string_view text);
  std::size_t size() const { return codes.size(); }

  std::vector<char32_t> codes;      // [n]
  std::vector<CharMask> masks;      // [n]
  std::vector<std::size_t> starts;  // [n + 1] byte offsets
};

struct PreTokenizer {
  std::string_view name;  // tokenizer.ggml.pre
  // The end of the piece that begins at character `begin`, begin < end; the text ends at `end`.
  std::size_t (*match)(const Chars& chars, std::size_t begin, std::size_t end);
  bool digits_first;   // every \p{N} is a piece of its own; match sees the texts in between
  bool ignore_merges;  // a piece that is a token as it stands is that token
};

std::span<const PreTokenizer> pretokenizers();
// nullptr when there is none of that name.
const PreTokenizer* find_pretokenizer(std::string_view name);

// The pieces of a text, in order; together they are the text.
std::vector<std::string_view> split_text(const PreTokenizer& rules, std::string_view text);

}  // namespace spectralkv
