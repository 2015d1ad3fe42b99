// Text to token ids and back: byte-level BPE ("gpt2") and SentencePiece-like merging ("llama").
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {

using Token = std::int32_t;

// GGUF's tokenizer.ggml.token_type.
enum class TokenType : std::uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

// Where "llama" puts a space in front. each: of each text between special tokens, as llama.cpp and Hugging
// Face's Prepend do; each_without and first_without are Metaspace's schemes "always" and "first": of each
// such text, or of one that begins what is encoded, unless it has a space there.
enum class SpacePrefix : std::uint8_t { none, each, each_without, first_without };

// Where this stands in a text that `encode_marked` takes, no control token begins: U+FDD0, which no text has.
inline constexpr std::string_view kPlainMark = "\xef\xb7\x90";

// What a file says of its vocabulary; filled from GGUF metadata by engine/vocab, checked by the Tokenizer.
struct Vocab {
  std::string source;              // the file's path, for messages
  std::string model;               // "gpt2" or "llama"
  std::string pre;                 // pre-tokenizer of "gpt2"; empty for "llama"
  std::string warning;             // for the user: what the file leaves open; empty: nothing
  bool allow_unknown_pre = false;  // an unknown `pre` becomes gpt-2's instead of an error
  // UTF-8 as stored: byte-level alphabet for gpt2, U+2581 for spaces in llama; control and user-defined
  // tokens as plain text. A text that occurs twice is encoded as its first id (files in the wild have a few);
  // an empty one never is.
  std::vector<std::string> tokens;
  std::vector<float> scores;     // llama; empty: all 0
  std::vector<TokenType> types;  // empty: all normal
  // "left right" by rank. llama: where there are any, they say what merges and in which order, not the scores
  // (GGUF has no other form for a tokenizer whose merges no scores can say).
  std::vector<std::string> merges;
  Token bos = -1, eos = -1, eot = -1, eom = -1, unk = -1, pad = -1;  // -1: none
  std::vector<Token> more_eog;                                       // further end-of-generation ids
  bool add_bos = false, add_eos = false;
  SpacePrefix space_prefix = SpacePrefix::each;  // llama only
};

class Tokenizer {
 public:
  // Throws a value error that names vocab.source and what is wrong with the vocabulary.
  explicit Tokenizer(Vocab vocab);
  Tokenizer(Tokenizer&&) noexcept;
  ~Tokenizer();

  const Vocab& vocab() const;
  int n_vocab() const;

  // add_special: BOS and EOS as the vocabulary asks for. parse_special: control and unknown tokens written
  // out in the text become their ids; without it they are plain text (user-defined tokens are always
  // matched). Text that is no valid UTF-8 is accepted: each bad byte stands for itself. Where no byte token
  // exists: llama gives one unknown token for a run of such characters, where there is one; gpt2 leaves the
  // byte out. Texts of at most 2^29 bytes; longer ones are a value error.
  std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const;

  // The tokens of a text that a model is to go on from, and of one that its predictions are measured on: BOS
  // where the vocabulary asks for it and the text does not write it already; never EOS, whatever the
  // vocabulary asks for, because a model that has read it starts another text. An empty text is BOS alone
  // where there is one.
  std::vector<Token> encode_prompt(std::string_view text, bool parse_special) const;

  // The text with kPlainMark wherever a control or unknown token is written in it, so that it stays plain
  // text in a larger one whose tokens are parsed: a message in a chat. Such marks that it has go.
  std::string mark_plain(std::string_view text) const;
  static std::string without_marks(std::string_view text);
  // As encode without BOS and EOS and with parse_special, and as encode_prompt with it, of a text with such
  // marks, which go.
  std::vector<Token> encode_marked(std::string_view text) const;
  std::vector<Token> encode_marked_prompt(std::string_view text) const;

  // The bytes of tokens: any bytes, a character may be cut. Control tokens give text only with
  // render_special. strip_leading_space: for "llama", the space that encode put in front is taken off a text
  // that starts the sequence. Ids out of range: a value error, here and below; is_end takes any number.
  std::string decode(std::span<const Token> tokens, bool render_special, bool strip_leading_space) const;
  // Bytes of one token.
  std::string piece(Token token, bool render_special) const;

  bool is_end(Token token) const;      // any end-of-generation token
  bool is_control(Token token) const;  // control or unknown

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Holds back the bytes of a character that is not complete yet.
class Utf8Stream {
 public:
  // Takes more bytes; gives what is complete. Bytes that can never become a character are given out as
  // U+FFFD.
  std::string put(std::string_view bytes);
  // What is left at the end: U+FFFD for an incomplete character, else nothing.
  std::string finish();

 private:
  std::string held_;
};

}  // namespace spectralkv
