// Merging with a heap over a linked list: O(n log n) in the length of a piece, however long it is.
#include "tokenizer/bpe.h"

#include <algorithm>

#include "base/error.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/merges.h"
#include "tokenizer/vocab_check.h"

namespace spectralkv {

struct Bpe::Work {
  // One token of a piece in the making; a merge keeps the left symbol and drops the right one.
  struct Symbol {
    Token id;               // -1: dropped, or a byte without a token
    std::int32_t previous;  // -1: the first
    std::int32_t next;      // -1: the last
  };

  struct Candidate {
    Merge merge;
    std::int32_t at;  // index of the left symbol
  };

  // For a heap with the next merge on top: lowest rank, then leftmost.
  static bool comes_later(const Candidate& a, const Candidate& b) {
    return a.merge.rank != b.merge.rank ? a.merge.rank > b.merge.rank : a.at > b.at;
  }

  // Kept from piece to piece, to allocate once.
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

Bpe::Bpe(const Vocab& vocab, const PreTokenizer& rules)
    : vocab_(vocab), rules_(rules), ids_(vocab.tokens), merges_(0) {
  for (std::size_t id = 0; id < vocab.tokens.size(); ++id) ids_.insert(static_cast<Token>(id));
  for (std::size_t b = 0; b < 256; ++b) {
    std::string character;
    append_utf8(character, kByteAlphabet.character[b]);
    byte_tokens_[b] = ids_.find(character);
  }
  merges_ = read_merges(vocab, ids_);
}

void Bpe::encode(std::string_view text, std::vector<Token>& out) const {
  Work work;
  for (const std::string_view piece : split_text(rules_, text)) encode_piece(piece, work, out);
}

void Bpe::encode_piece(std::string_view piece, Work& work, std::vector<Token>& out) const {
  if (rules_.ignore_merges && piece.size() <= ids_.longest()) {
    const Token whole = ids_.find(to_byte_alphabet(piece));
    if (whole >= 0 && type_of(vocab_, whole) != TokenType::control) {
      out.push_back(whole);
      return;
    }
  }

  auto& symbols = work.symbols;
  auto& heap = work.heap;
  symbols.clear();
  heap.clear();
  const auto consider = [&](std::int32_t at) {  // the pair of symbol `at` and the next
    if (at < 0) return false;
    const Work::Symbol& left = symbols[static_cast<std::size_t>(at)];
    if (left.next < 0) return false;
    const Merge* merge = merges_.find(left.id, symbols[static_cast<std::size_t>(left.next)].id);
    if (merge != nullptr) heap.push_back({*merge, at});
    return merge != nullptr;
  };
  const auto n = static_cast<std::int32_t>(piece.size());
  for (std::int32_t i = 0; i < n; ++i) {
    const auto byte = static_cast<std::uint8_t>(piece[static_cast<std::size_t>(i)]);
    symbols.push_back({byte_tokens_[byte], i - 1, i + 1 < n ? i + 1 : -1});
  }
  for (std::int32_t i = 0; i < n; ++i) consider(i);
  std::make_heap(heap.begin(), heap.end(), Work::comes_later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), Work::comes_later);
    const Work::Candidate best = heap.back();
    heap.pop_back();
    Work::Symbol& left = symbols[static_cast<std::size_t>(best.at)];
    if (left.id != best.merge.left || left.next < 0) continue;  // an earlier merge took the left symbol
    Work::Symbol& right = symbols[static_cast<std::size_t>(left.next)];
    if (right.id != best.merge.right) continue;  // or the right one
    left.id = best.merge.result;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<std::size_t>(left.next)].previous = best.at;
    if (consider(left.previous)) std::push_heap(heap.begin(), heap.end(), Work::comes_later);
    if (consider(best.at)) std::push_heap(heap.begin(), heap.end(), Work::comes_later);
  }

  for (std::int32_t at = 0; at >= 0 && at < n; at = symbols[static_cast<std::size_t>(at)].next) {
    const Token id = symbols[static_cast<std::size_t>(at)].id;
    if (id >= 0) out.push_back(id);
  }
}

}  // namespace spectralkv
