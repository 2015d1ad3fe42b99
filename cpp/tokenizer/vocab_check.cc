// The checks of a vocabulary: sizes, ids, types, byte tokens.
#include "tokenizer/vocab_check.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "tokenizer/spm.h"

namespace spectralkv {
namespace {

void check_id(const Vocab& vocab, const char* name, Token id) {
  check(id >= -1 && id < static_cast<std::int64_t>(vocab.tokens.size()), "tokenizer", vocab.source, ": the ",
        name, " token ", id, " lies outside the vocabulary of ", vocab.tokens.size(), " tokens");
}

// What GGUF's other names of tokenizer.ggml.model stand for, in parentheses; empty for what is none.
std::string_view known_model(std::string_view name) {
  struct Model {
    std::string_view name, meaning;
  };
  constexpr Model kModels[] = {
      {"bert", " (WordPiece)"},
      {"t5", " (SentencePiece's Unigram)"},
      {"rwkv", " (RWKV's longest match)"},
      {"plamo2", " (PLaMo's Unigram)"},
      {"gemma4", " (BPE over UTF-8, without bytes)"},
      {"hybriddna", " (BPE and DNA)"},
      {"whitespace", " (BPE over words)"},
      {"no_vocab", " (no vocabulary)"},
      {"none", " (no vocabulary)"},
  };
  for (const Model& model : kModels)
    if (model.name == name) return model.meaning;
  return "";
}

}  // namespace

std::string quoted(std::string_view text) {
  constexpr std::size_t kMost = 48;
  constexpr char kHex[] = "0123456789abcdef";
  std::string out = "'";
  for (const char c : text.substr(0, kMost)) {
    if (c >= ' ' && c <= '~') {
      out.push_back(c);
    } else {
      const auto byte = static_cast<unsigned char>(c);
      out += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return out + (text.size() > kMost ? "...'" : "'");
}

void check_vocab(const Vocab& vocab) {
  const std::size_t n = vocab.tokens.size();
  check(vocab.model == "gpt2" || vocab.model == "llama", "tokenizer", vocab.source, ": the tokenizer model ",
        quoted(vocab.model), known_model(vocab.model),
        " is not supported; supported are gpt2 (byte-level BPE) and llama (SentencePiece's BPE)");
  check(n > 0, "tokenizer", vocab.source, ": the vocabulary has no tokens");
  check(n <= static_cast<std::size_t>(std::numeric_limits<Token>::max()), "tokenizer", vocab.source, ": ", n,
        " tokens are too many");
  check(vocab.scores.empty() || vocab.scores.size() == n, "tokenizer", vocab.source, ": ",
        vocab.scores.size(), " scores for ", n, " tokens");
  check(vocab.types.empty() || vocab.types.size() == n, "tokenizer", vocab.source, ": ", vocab.types.size(),
        " token types for ", n, " tokens");
  check(vocab.merges.size() <= std::numeric_limits<std::uint32_t>::max(), "tokenizer", vocab.source,
        ": too many merges");
  for (std::size_t i = 0; i < vocab.scores.size(); ++i) {
    check(std::isfinite(vocab.scores[i]), "tokenizer", vocab.source, ": the score of token ", i,
          " is not finite");
  }
  for (std::size_t i = 0; i < vocab.types.size(); ++i) {
    const int type = static_cast<int>(vocab.types[i]);
    check(type >= 1 && type <= 6, "tokenizer", vocab.source, ": token ", i, " has type ", type,
          ", expected 1 to 6");
    if (vocab.model != "llama" || vocab.types[i] != TokenType::byte) continue;
    if (byte_of_token(vocab.tokens[i]) < 0) {
      fail(ErrorKind::value, "tokenizer", vocab.source, ": byte token ", i, " is ", quoted(vocab.tokens[i]),
           ", expected <0x00> to <0xFF>");
    }
  }

  check_id(vocab, "bos", vocab.bos);
  check_id(vocab, "eos", vocab.eos);
  check_id(vocab, "eot", vocab.eot);
  check_id(vocab, "eom", vocab.eom);
  check_id(vocab, "unk", vocab.unk);
  check_id(vocab, "pad", vocab.pad);
  for (const Token id : vocab.more_eog) check_id(vocab, "end-of-generation", id);
  check(!vocab.add_bos || vocab.bos >= 0, "tokenizer", vocab.source,
        ": add_bos is set, but there is no bos token");
  check(!vocab.add_eos || vocab.eos >= 0, "tokenizer", vocab.source,
        ": add_eos is set, but there is no eos token");
}

}  // namespace spectralkv
