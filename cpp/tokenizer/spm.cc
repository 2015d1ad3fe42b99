// Merging by score, or by rank of listed merges, with a heap over a linked list: O(n log n) in the length of
// the text.
#include "tokenizer/spm.h"

#include <algorithm>
#include <string>

#include "base/error.h"
#include "tokenizer/merges.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab_check.h"

namespace spectralkv {
namespace {

// A stretch of the text; a merge extends the left symbol and empties the right one.
struct Symbol {
  std::uint32_t start, length;  // bytes; length 0: merged away
  std::int32_t previous, next;  // -1: none
  Token id;                     // -1: a character without a token
};

struct Candidate {
  double score;          // of a listed merge: minus its rank
  std::int32_t at;       // index of the left symbol
  std::uint32_t length;  // bytes of both symbols: another length means that one of them has changed
  Token id;
};

// For a heap with the next merge on top: highest score, then leftmost.
bool comes_later(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score < b.score : a.at > b.at;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

bool gets_space(SpacePrefix prefix, std::string_view text, bool at_start) {
  const bool has_space = text.starts_with(' ') || text.starts_with("\u2581");
  switch (prefix) {
    case SpacePrefix::none:
      return false;
    case SpacePrefix::each:
      return true;
    case SpacePrefix::each_without:
      return !has_space;
    case SpacePrefix::first_without:
      return at_start && !has_space;
  }
  return false;
}

// Spaces as U+2581.
std::string visible_spaces(std::string_view text, bool prefix) {
  std::string out;
  out.reserve(text.size() + text.size() / 2 + 3);
  if (prefix) out += "\u2581";
  for (const char c : text) {
    if (c == ' ') {
      out += "\u2581";
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

int byte_of_token(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text[5] != '>') return -1;
  const int high = hex_digit(text[3]), low = hex_digit(text[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

Spm::Spm(const Vocab& vocab)
    : vocab_(vocab), ids_(vocab.tokens), merges_(0), byte_values_(vocab.tokens.size(), -1) {
  byte_tokens_.fill(-1);
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    const auto id = static_cast<Token>(i);
    const TokenType type = type_of(vocab, id);
    // Without types the text alone tells.
    const bool may_be_byte = vocab.types.empty() || type == TokenType::byte;
    if (const int byte = may_be_byte ? byte_of_token(vocab.tokens[i]) : -1; byte >= 0) {
      byte_values_[i] = static_cast<std::int16_t>(byte);
      Token& slot = byte_tokens_[static_cast<std::size_t>(byte)];
      if (slot < 0) slot = id;
    } else if (type == TokenType::normal || type == TokenType::user_defined) {
      ids_.insert(id);
    }
  }
  merges_ = read_merges(vocab, ids_);
}

void Spm::encode(std::string_view text, bool at_start, std::vector<Token>& out) const {
  if (text.empty()) return;
  const std::string spelled = visible_spaces(text, gets_space(vocab_.space_prefix, text, at_start));
  const auto part = [&](std::size_t start, std::size_t length) {
    return std::string_view(spelled).substr(start, length);
  };

  std::vector<Symbol> symbols;
  symbols.reserve(spelled.size());
  for (std::size_t start = 0; start < spelled.size();) {
    const std::size_t length = first_utf8(part(start, std::string_view::npos)).length;
    const auto index = static_cast<std::int32_t>(symbols.size());
    const bool last = start + length == spelled.size();
    symbols.push_back({static_cast<std::uint32_t>(start), static_cast<std::uint32_t>(length), index - 1,
                       last ? -1 : index + 1, ids_.find(part(start, length))});
    start += length;
  }

  std::vector<Candidate> heap;
  const auto consider = [&](std::int32_t at) {  // the pair of symbol `at` and the next
    if (at < 0) return false;
    const Symbol& left = symbols[static_cast<std::size_t>(at)];
    if (left.next < 0) return false;
    const Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    const std::uint32_t length = left.length + right.length;
    if (!vocab_.merges.empty()) {
      const Merge* merge = merges_.find(left.id, right.id);
      if (merge != nullptr) heap.push_back({-static_cast<double>(merge->rank), at, length, merge->result});
      return merge != nullptr;
    }
    const Token id = ids_.find(part(left.start, length));
    if (id < 0) return false;
    const float score = vocab_.scores.empty() ? 0.0f : vocab_.scores[static_cast<std::size_t>(id)];
    heap.push_back({score, at, length, id});
    return true;
  };
  for (std::size_t i = 0; i < symbols.size(); ++i) consider(static_cast<std::int32_t>(i));
  std::make_heap(heap.begin(), heap.end(), comes_later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const Candidate best = heap.back();
    heap.pop_back();
    Symbol& left = symbols[static_cast<std::size_t>(best.at)];
    if (left.length == 0 || left.next < 0) continue;
    Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (left.length + right.length != best.length) continue;
    left.length = best.length;
    left.id = best.id;
    left.next = right.next;
    right.length = 0;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.at;
    if (consider(left.previous)) std::push_heap(heap.begin(), heap.end(), comes_later);
    if (consider(best.at)) std::push_heap(heap.begin(), heap.end(), comes_later);
  }

  bool after_unknown = false;
  for (std::int32_t at = 0; at >= 0; at = symbols[static_cast<std::size_t>(at)].next) {
    const Symbol& symbol = symbols[static_cast<std::size_t>(at)];
    if (symbol.id >= 0) {
      out.push_back(symbol.id);
      after_unknown = false;
    } else {
      append_bytes(part(symbol.start, symbol.length), after_unknown, out);
    }
  }
}

// A character that has no token: all of its bytes, or one unknown token for a run of such characters.
void Spm::append_bytes(std::string_view character, bool& after_unknown, std::vector<Token>& out) const {
  const auto token = [&](char byte) { return byte_tokens_[static_cast<std::uint8_t>(byte)]; };
  if (std::all_of(character.begin(), character.end(), [&](char byte) { return token(byte) >= 0; })) {
    for (const char byte : character) out.push_back(token(byte));
    after_unknown = false;
  } else {
    if (vocab_.unk >= 0 && !after_unknown) out.push_back(vocab_.unk);
    after_unknown = true;
  }
}

}  // namespace spectralkv
