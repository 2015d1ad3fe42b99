// Sequences that are kept when nobody reads them any more, found by the tokens that they begin with. A
// request that begins alike starts from a fork of one: the sealed blocks are shared, and sinks and tail
// copied.
//
// A cache can go back only to where it still has exact rows for all that a query there sees exactly
// (VOCABULARY.md), so what is kept is not blocks but states of whole sequences, sinks and tail included, each
// good for every length from its last sealed block's window on. Their blocks are shared; the tail, which is
// many times the size of a sealed block, is what an entry costs. So there is no entry at every block: the
// scheduler keeps a sequence where its prompt ends, where it ends itself, and where others have branched off.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "kv/cache.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

// How many tokens two sequences have in common at their start.
std::int64_t common_tokens(std::span<const Token> a, std::span<const Token> b);

class PrefixCache {
 public:
  static constexpr std::int64_t kLink = 32;  // tokens of a link of the chain; shorter sequences are not kept

  struct Found {
    const KvCache* cache = nullptr;  // good until the next call
    std::int64_t n = 0;              // a fork of it can be cut to so many tokens
    std::int64_t common = 0;  // the longest start that any has in common, whether it can be used or not
  };
  // The longest start of `tokens`, of at most `most`, that a kept sequence can give.
  Found find(std::span<const Token> tokens, std::int64_t most);
  // Keeps what a cache holds, `tokens`, unless an entry gives it already; entries that it makes needless go.
  void add(std::span<const Token> tokens, const KvCache& cache);
  // Drops the entry that was used longest ago; false: there is none.
  bool drop_oldest();

  std::int64_t size() const { return std::ssize(entries_); }
  std::int64_t n_tokens() const;  // of all entries; what two share counts twice
  std::int64_t exact_bytes() const {
    return exact_bytes_;
  }  // sinks and tails; blocks are in the backend's sum

 private:
  struct Entry {
    std::vector<Token> tokens;
    std::vector<std::uint64_t> chain;  // of each link, the hash of all tokens up to its end
    std::unique_ptr<const KvCache> cache;
  };
  using Place = std::list<Entry>::iterator;
  static std::vector<std::uint64_t> chain_of(std::span<const Token> tokens);
  void drop(Place place);
  void touch(Place place) { entries_.splice(entries_.end(), entries_, place); }
  template <class Visit>
  void visit(std::uint64_t hash, const Visit& see);

  std::list<Entry> entries_;  // the one used longest ago first
  std::unordered_multimap<std::uint64_t, Place> by_hash_;
  std::int64_t exact_bytes_ = 0;
};

}  // namespace spectralkv
