// What every vocabulary must satisfy before a tokenizer is built on it: files are untrusted.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

// Throws a value error that names vocab.source and what is wrong. Merges are checked where they are read
// (bpe.cc).
void check_vocab(const Vocab& vocab);

// id lies inside the vocabulary.
inline TokenType type_of(const Vocab& vocab, Token id) {
  return vocab.types.empty() ? TokenType::normal : vocab.types[static_cast<std::size_t>(id)];
}

// A text of the file for a message: in quotes, cut short, odd bytes as \xNN.
std::string quoted(std::string_view text);

}  // namespace spectralkv
