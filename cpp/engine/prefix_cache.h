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

#include "engine/kept_files.h"
#include "kv/cache.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

// How many tokens two sequences have in common at their start.
std::int64_t common_tokens(std::span<const Token> a, std::span<const Token> b);

class PrefixCache {
 public:
  static constexpr std::int64_t kLink = 32;  // tokens of a link of the chain; shorter sequences are not kept

  // files: where what goes from memory goes, and is found again, after a restart too; null: nowhere.
  explicit PrefixCache(std::shared_ptr<const CacheFormat> format, std::unique_ptr<KeptFiles> files = nullptr);

  struct Found {
    const KvCache* cache = nullptr;  // good until the next call
    std::int64_t n = 0;              // a fork of it can be cut to so many tokens
    std::int64_t common = 0;  // the longest start that any has in common, whether it can be used or not
  };
  // The longest start of `tokens`, of at most `most`, that a kept sequence can give.
  Found find(std::span<const Token> tokens, std::int64_t most);
  // Keeps what a cache holds, `tokens`, unless an entry gives it already; entries that it makes needless go.
  void add(std::span<const Token> tokens, const KvCache& cache);
  // Frees the memory of the entry that was used longest ago; false: there is none. With files it is written
  // to one before, unless it has been; an entry that cannot be written is lost.
  bool drop_oldest();
  // Writes an entry to a file that is in none yet, the one used last; false: there is none, or no files.
  bool save_one();
  bool has_unsaved() const { return files_ != nullptr && unsaved_ > 0; }

  std::int64_t size() const { return in_memory_; }
  std::int64_t n_files() const { return n_files_; }
  std::int64_t file_bytes() const { return file_bytes_; }
  std::int64_t n_tokens() const;  // of those in memory; what two share counts twice
  std::int64_t exact_bytes() const {
    return exact_bytes_;
  }  // sinks and tails; blocks are in the backend's sum

 private:
  struct Entry {
    std::vector<Token> tokens;
    std::vector<std::uint64_t> chain;      // of each link, the hash of all tokens up to its end
    std::unique_ptr<const KvCache> cache;  // none: it is in a file
    KeptFiles::File file;                  // without a path: there is none
    bool unsaved = true;                   // to be written where there are files
  };
  using Place = std::list<Entry>::iterator;
  static std::vector<std::uint64_t> chain_of(std::span<const Token> tokens);
  Place list(Entry entry);
  void drop(Place place);
  void forget(Place place);
  bool load(Place place);
  void save(Place place);
  void release(Place place);
  void touch(Place place) { entries_.splice(entries_.end(), entries_, place); }
  template <class Visit>
  void visit(std::uint64_t hash, const Visit& see);

  std::shared_ptr<const CacheFormat> format_;
  std::unique_ptr<KeptFiles> files_;
  std::list<Entry> entries_;  // the one used longest ago first
  std::unordered_multimap<std::uint64_t, Place> by_hash_;
  std::int64_t exact_bytes_ = 0, in_memory_ = 0, unsaved_ = 0, n_files_ = 0, file_bytes_ = 0;
};

}  // namespace spectralkv
