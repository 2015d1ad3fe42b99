// The tokenizer: special tokens first, the texts between them by the vocabulary's model; and back.
#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "tokenizer/bpe.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/special_tokens.h"
#include "tokenizer/spm.h"
#include "tokenizer/vocab_check.h"

namespace spectralkv {
namespace {

constexpr std::size_t kMostText = std::size_t{1}
                                  << 29;  // bytes; positions in a text are 32 bits, a space takes 3

Vocab checked(Vocab vocab) {
  check_vocab(vocab);
  return vocab;
}

const PreTokenizer& rules_of(const Vocab& vocab) {
  if (const PreTokenizer* rules = find_pretokenizer(vocab.pre); rules != nullptr) return *rules;
  if (!vocab.allow_unknown_pre) {
    std::string names;
    for (const PreTokenizer& row : pretokenizers()) names.append(names.empty() ? "" : ", ").append(row.name);
    fail(ErrorKind::value, "tokenizer", vocab.source, ": unknown pre-tokenizer ", quoted(vocab.pre),
         ", there are ", names,
         "; --allow-unknown-pre (in Python: allow_unknown_pre=True) goes on with gpt-2");
  }
  return *find_pretokenizer("gpt-2");
}

// The tokens of a prompt with BOS in front where it is wanted and not there yet.
std::vector<Token> with_bos(const Vocab& vocab, std::vector<Token> tokens) {
  const bool wanted = tokens.empty() ? vocab.bos >= 0 : vocab.add_bos && tokens[0] != vocab.bos;
  if (wanted) tokens.insert(tokens.begin(), vocab.bos);
  return tokens;
}

// The text without its marks, and where they stood in what is left.
std::string take_marks(std::string_view text, std::vector<std::size_t>& places) {
  std::string out;
  for (;;) {
    const std::size_t end = text.find(kPlainMark);
    out.append(text.substr(0, end));
    if (end == std::string_view::npos) return out;
    places.push_back(out.size());
    text.remove_prefix(end + kPlainMark.size());
  }
}

// A token of "llama" without U+2581.
std::string with_spaces(std::string_view token) {
  constexpr std::string_view kSpaceMark = "\u2581";
  std::string out;
  while (!token.empty()) {
    const bool space = token.starts_with(kSpaceMark);
    out.push_back(space ? ' ' : token[0]);
    token.remove_prefix(space ? kSpaceMark.size() : 1);
  }
  return out;
}

}  // namespace

struct Tokenizer::Impl {
  explicit Impl(Vocab v) : vocab(checked(std::move(v))), specials(vocab) {
    if (vocab.model == "gpt2") {
      bpe.emplace(vocab, rules_of(vocab));
    } else {
      spm.emplace(vocab);
    }
  }
  Impl(const Impl&) = delete;  // the models refer to vocab
  Impl& operator=(const Impl&) = delete;

  void encode_text(std::string_view text, bool at_start, std::vector<Token>& out) const {
    if (bpe) {
      bpe->encode(text, out);
    } else {
      spm->encode(text, at_start, out);
    }
  }

  // plain: where no control token begins, rising.
  void encode(std::string_view text, bool parse_special, std::span<const std::size_t> plain,
              std::vector<Token>& out) const;

  void check_id(Token token) const {
    check(token >= 0 && static_cast<std::size_t>(token) < vocab.tokens.size(), "tokenizer", vocab.source,
          ": token ", token, " lies outside the vocabulary of ", vocab.tokens.size(), " tokens");
  }

  Vocab vocab;
  SpecialTokens specials;
  std::optional<Bpe> bpe;  // one of the two, by vocab.model
  std::optional<Spm> spm;
};

Tokenizer::Tokenizer(Vocab vocab) : impl_(std::make_unique<Impl>(std::move(vocab))) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

const Vocab& Tokenizer::vocab() const {
  return impl_->vocab;
}

int Tokenizer::n_vocab() const {
  return static_cast<int>(impl_->vocab.tokens.size());
}

// Each text between special tokens is encoded on its own.
void Tokenizer::Impl::encode(std::string_view text, bool parse_special, std::span<const std::size_t> plain,
                             std::vector<Token>& out) const {
  check(text.size() <= kMostText, "tokenizer", "a text of ", text.size(), " bytes is too long, ", kMostText,
        " are possible");
  std::size_t begin = 0;  // of the text that is not encoded yet
  for (std::size_t at = 0; at < text.size();) {
    while (!plain.empty() && plain[0] < at) plain = plain.subspan(1);
    const bool may_begin = parse_special && (plain.empty() || plain[0] != at);
    const SpecialTokens::Match special = specials.longest(text.substr(at), may_begin);
    if (special.id < 0) {
      ++at;
      continue;
    }
    encode_text(text.substr(begin, at - begin), begin == 0, out);
    out.push_back(special.id);
    at += special.length;
    begin = at;
  }
  encode_text(text.substr(begin), begin == 0, out);
}

std::vector<Token> Tokenizer::encode(std::string_view text, bool add_special, bool parse_special) const {
  const Vocab& vocab = impl_->vocab;
  std::vector<Token> out;
  if (add_special && vocab.add_bos) out.push_back(vocab.bos);
  impl_->encode(text, parse_special, {}, out);
  if (add_special && vocab.add_eos) out.push_back(vocab.eos);
  return out;
}

std::vector<Token> Tokenizer::encode_prompt(std::string_view text, bool parse_special) const {
  return with_bos(impl_->vocab, encode(text, false, parse_special));
}

// Marks that a text has go first: within a control token one would hide it here and not there, and at the
// end it would take the token that the template has behind.
std::string Tokenizer::mark_plain(std::string_view hostile) const {
  std::string text, out;
  for (const char byte : hostile) {
    text.push_back(byte);
    if (text.ends_with(kPlainMark)) text.resize(text.size() - kPlainMark.size());
  }
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size(); ++at) {
    const SpecialTokens::Match special = impl_->specials.longest(std::string_view(text).substr(at), true);
    if (special.id >= 0 && is_control(special.id)) out += kPlainMark;
    out.push_back(text[at]);
  }
  return out;
}

std::string Tokenizer::without_marks(std::string_view text) {
  std::vector<std::size_t> places;
  return take_marks(text, places);
}

std::vector<Token> Tokenizer::encode_marked(std::string_view text) const {
  std::vector<std::size_t> plain;
  const std::string unmarked = take_marks(text, plain);
  std::vector<Token> out;
  impl_->encode(unmarked, true, plain, out);
  return out;
}

std::vector<Token> Tokenizer::encode_marked_prompt(std::string_view text) const {
  return with_bos(impl_->vocab, encode_marked(text));
}

std::string Tokenizer::piece(Token token, bool render_special) const {
  impl_->check_id(token);
  const Vocab& vocab = impl_->vocab;
  const std::string& text = vocab.tokens[static_cast<std::size_t>(token)];
  if (is_control(token)) return render_special ? text : std::string();
  if (type_of(vocab, token) == TokenType::user_defined) return text;  // stored as plain text
  if (impl_->bpe) return from_byte_alphabet(text);
  const int byte = impl_->spm->byte_value(token);
  return byte >= 0 ? std::string(1, static_cast<char>(byte)) : with_spaces(text);
}

std::string Tokenizer::decode(std::span<const Token> tokens, bool render_special,
                              bool strip_leading_space) const {
  const Vocab& vocab = impl_->vocab;
  bool strip = strip_leading_space && impl_->spm && vocab.space_prefix != SpacePrefix::none;
  std::string out;
  for (const Token token : tokens) {
    const std::string text = piece(token, render_special);
    if (text.empty()) continue;
    // The space that encode put in front: never before a special token, and none but the first.
    const bool plain = !is_control(token) && type_of(vocab, token) != TokenType::user_defined;
    out.append(text, strip && plain && text[0] == ' ' ? 1 : 0);
    strip = false;
  }
  return out;
}

bool Tokenizer::is_end(Token token) const {
  const Vocab& vocab = impl_->vocab;
  if (token < 0) return false;
  return token == vocab.eos || token == vocab.eot || token == vocab.eom ||
         std::find(vocab.more_eog.begin(), vocab.more_eog.end(), token) != vocab.more_eog.end();
}

bool Tokenizer::is_control(Token token) const {
  impl_->check_id(token);
  const TokenType type = type_of(impl_->vocab, token);
  return type == TokenType::control || type == TokenType::unknown;
}

}  // namespace spectralkv
