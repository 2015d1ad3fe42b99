// SentencePiece-like BPE ("llama"): characters merged into tokens, the highest score first, or by listed
// merges; bytes where a character has no token.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "tokenizer/token_map.h"

namespace spectralkv {

// The byte of a text "<0xXX>"; -1: it is none.
int byte_of_token(std::string_view text);

class Spm {
 public:
  // Checks the merges of vocab, which must outlive this.
  explicit Spm(const Vocab& vocab);

  // Appends the tokens of a text without special tokens. A text that is not empty gets the space in front
  // that vocab.space_prefix asks for; at_start: nothing stands before it.
  void encode(std::string_view text, bool at_start, std::vector<Token>& out) const;

  // The byte of a byte token; -1: another token.
  int byte_value(Token id) const { return byte_values_[static_cast<std::size_t>(id)]; }

 private:
  void append_bytes(std::string_view character, bool& after_unknown, std::vector<Token>& out) const;

  const Vocab& vocab_;
  TokenMap ids_;     // what may come of merging: no control, unknown, byte or unused tokens
  MergeMap merges_;  // used where the vocabulary lists merges
  std::array<Token, 256> byte_tokens_;     // -1: none
  std::vector<std::int16_t> byte_values_;  // [n_vocab], -1: no byte token
};

}  // namespace spectralkv
