// Byte-level BPE ("gpt2"): the bytes of a piece, merged pair by pair, the lowest rank first.
#pragma once

#include <array>
#include <string_view>
#include <vector>

#include "tokenizer/pretokenizers.h"
#include "tokenizer/token_map.h"

namespace spectralkv {

class Bpe {
 public:
  // Checks the merges of vocab, which must outlive this.
  Bpe(const Vocab& vocab, const PreTokenizer& rules);

  // Appends the tokens of a text without special tokens.
  void encode(std::string_view text, std::vector<Token>& out) const;

 private:
  struct Work;
  void encode_piece(std::string_view piece, Work& work, std::vector<Token>& out) const;

  const Vocab& vocab_;
  const PreTokenizer& rules_;
  TokenMap ids_;
  MergeMap merges_;
  std::array<Token, 256> byte_tokens_;  // -1: the vocabulary has no such byte, which is left out
};

}  // namespace spectralkv
