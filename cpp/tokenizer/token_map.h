// Hash maps of the vocabulary, made for filling once and fast: token text -> id, and pair of ids -> merge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

// Slots for n entries: a power of two, at most half full.
inline std::size_t slots_for(std::size_t n) {
  std::size_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  return slots;
}

// Ids of token texts. Files in the wild have a few tokens twice: the first id wins.
class TokenMap {
 public:
  // Both refer to tokens [n_vocab], which must outlive the map.
  explicit TokenMap(const std::vector<std::string>& tokens)
      : tokens_(&tokens), slots_(slots_for(tokens.size())) {}

  void insert(Token id) {
    const std::string& text = (*tokens_)[static_cast<std::size_t>(id)];
    const std::size_t hash = std::hash<std::string_view>{}(text);
    Slot& slot = slots_[place(text, hash)];
    if (slot.id >= 0) return;
    slot = {id, tag(hash)};
    if (text.size() > longest_) longest_ = text.size();
  }
  // -1: no such token.
  Token find(std::string_view text) const {
    if (text.size() > longest_) return -1;
    return slots_[place(text, std::hash<std::string_view>{}(text))].id;
  }
  // Bytes of the longest token.
  std::size_t longest() const { return longest_; }

 private:
  struct Slot {
    Token id = -1;
    std::uint32_t tag = 0;  // half of the hash: most mismatches are seen without reading the token
  };
  static std::uint32_t tag(std::size_t hash) { return static_cast<std::uint32_t>(std::uint64_t{hash} >> 32); }
  // Where text is, or where it would go.
  std::size_t place(std::string_view text, std::size_t hash) const {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = hash & mask;
    while (slots_[at].id >= 0 &&
           (slots_[at].tag != tag(hash) || (*tokens_)[static_cast<std::size_t>(slots_[at].id)] != text)) {
      at = (at + 1) & mask;
    }
    return at;
  }

  const std::vector<std::string>* tokens_;
  std::vector<Slot> slots_;
  std::size_t longest_ = 0;
};

// A merge: the lower the rank, the earlier.
struct Merge {
  Token left = -1, right = -1;
  Token result = -1;
  std::uint32_t rank = 0;
};

// Merges by their pair. A pair that is listed twice keeps its first rank.
class MergeMap {
 public:
  explicit MergeMap(std::size_t n) : slots_(slots_for(n)) {}

  void insert(const Merge& merge) {
    Merge& slot = slots_[place(merge.left, merge.right)];
    if (slot.left < 0) slot = merge;
  }
  // nullptr: the pair does not merge. -1 on either side never does.
  const Merge* find(Token left, Token right) const {
    if (left < 0 || right < 0) return nullptr;
    const Merge& slot = slots_[place(left, right)];
    return slot.left < 0 ? nullptr : &slot;
  }

 private:
  std::size_t place(Token left, Token right) const {
    const std::size_t mask = slots_.size() - 1;
    std::uint64_t key = static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
                        static_cast<std::uint32_t>(right);
    key *= 0x9e3779b97f4a7c15ull;
    std::size_t at = static_cast<std::size_t>(key >> 32) & mask;
    while (slots_[at].left >= 0 && (slots_[at].left != left || slots_[at].right != right))
      at = (at + 1) & mask;
    return at;
  }

  std::vector<Merge> slots_;
};

}  // namespace spectralkv
