// Small vocabularies for the tests of this room.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

// gpt2: the 256 bytes (id = byte), then the results of the merges in order.
inline Vocab byte_level(std::vector<std::string> merges = {}, const std::string& pre = "gpt-2") {
  Vocab vocab;
  vocab.source = "test.gguf";
  vocab.model = "gpt2";
  vocab.pre = pre;
  for (int b = 0; b < 256; ++b)
    vocab.tokens.push_back(to_byte_alphabet(std::string(1, static_cast<char>(b))));
  for (std::string merge : merges) {
    merge.erase(std::remove(merge.begin(), merge.end(), ' '), merge.end());
    vocab.tokens.push_back(merge);
  }
  vocab.types.assign(vocab.tokens.size(), TokenType::normal);
  vocab.merges = std::move(merges);
  return vocab;
}

// Appends a token and gives its id.
inline Token add(Vocab& vocab, const std::string& text, TokenType type, float score = 0.0f) {
  vocab.tokens.push_back(text);
  vocab.types.push_back(type);
  if (vocab.model == "llama") vocab.scores.push_back(score);
  return static_cast<Token>(vocab.tokens.size() - 1);
}

// llama: <unk> <s> </s>, with_bytes the 256 bytes (id = 3 + byte), then U+2581.
inline Vocab scored(bool with_bytes) {
  Vocab vocab;
  vocab.source = "test.gguf";
  vocab.model = "llama";
  vocab.unk = add(vocab, "<unk>", TokenType::unknown);
  vocab.bos = add(vocab, "<s>", TokenType::control);
  vocab.eos = add(vocab, "</s>", TokenType::control);
  constexpr char kHex[] = "0123456789ABCDEF";
  for (unsigned b = 0; with_bytes && b < 256; ++b) {
    add(vocab, std::string("<0x") + kHex[b / 16] + kHex[b % 16] + ">", TokenType::byte);
  }
  add(vocab, "\u2581", TokenType::normal);
  return vocab;
}

using Tokens = std::vector<Token>;

}  // namespace spectralkv
