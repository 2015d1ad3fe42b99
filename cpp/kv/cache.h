// The cache of one sequence on the CPU: per layer and KV head exact sinks, sealed blocks and an exact tail.
// What it holds is a function of the tokens alone (VOCABULARY.md), whatever batches brought them.
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "kv/codecs.h"
#include "kv/report.h"

namespace spectralkv {

class StateReader;
class StateWriter;

struct CacheShape {
  std::int64_t n_layers = 0, n_kv_heads = 0, head_dim = 0, n_ctx = 0;
  std::int64_t first_layer = 0;  // what messages call layer 0
};

// What every backend's cache can do.
class KvCache {
 public:
  virtual ~KvCache() = default;
  virtual std::int64_t n_tokens() const = 0;
  // Counts n more tokens, once every layer has taken them.
  virtual void commit(std::int64_t n) = 0;
  virtual void reset() = 0;
  // Keeps the first n tokens, 0 <= n <= n_tokens(). A value error names the nearest n that is possible.
  virtual void truncate(std::int64_t n) = 0;
  // The largest length up to n that truncate takes.
  virtual std::int64_t nearest_below(std::int64_t n) const = 0;
  virtual CacheReport report() const = 0;

  // A state file's part for the cache, the same on every backend. `load` checks everything; when it throws,
  // what this cache holds is undefined, so give it a fresh one. n_tokens: what the file said, at most the
  // context's length.
  virtual void save(StateWriter& out) const = 0;
  virtual void load(StateReader& in, std::int64_t n_tokens) = 0;
};

// K and V of a layer share one layout: an exact codec takes the other's; of two lossy ones, both keep as much
// exact as either asks for. Blocks of different lengths are a value error.
CacheLayout shared_layout(const BuiltCodec& k, const BuiltCodec& v, std::int64_t layer);

// Blocks that a query at position t reads as sealed.
constexpr std::int64_t sealed_before(const CacheLayout& layout, std::int64_t t) {
  return t < layout.window ? 0 : (t - layout.window) / layout.block;
}

// Whether a layer with that many sealed blocks can go back to its first n tokens. An exact layer can go back
// anywhere. Another one can go back into its tail; before that only to the end of a sealed block, which
// leaves an empty tail (window 0), or to 0.
bool can_go_back(const CacheLayout& layout, bool lossy, std::int64_t blocks, std::int64_t n);

// Checks a truncation from n_tokens to n tokens. can(m): whether m is possible.
void check_truncation(std::int64_t n, std::int64_t n_tokens, const std::function<bool(std::int64_t)>& can);

// "f16", or "f16 (2 layers differ)".
std::string layers_name(std::span<const std::string> codec_texts);

// Blocks of one layer's K or V, all KV heads together: head h at [offsets[h], offsets[h + 1]).
struct SealedBlock {
  Buffer<std::byte> bytes;
  std::vector<std::uint32_t> offsets;

  std::span<const std::byte> head(std::size_t h) const {
    return {bytes.data() + offsets[h], offsets[h + 1] - offsets[h]};
  }
};

// K or V of one layer.
struct CacheSide {
  BuiltCodec built;
  const Codec* exact = nullptr;  // how sinks and tail are stored
  std::vector<SealedBlock> blocks;
  Buffer<std::byte> sinks;  // [n_kv_heads, layout.sink, head_dim] exact
  Buffer<std::byte> tail;   // [n_kv_heads, tail capacity, head_dim] exact, from the first unsealed token on
};

struct CacheLayer {
  CacheLayout layout;
  bool lossy = false;
  std::int64_t n_ctx = 0;  // a tail never holds more
  CacheSide k, v;
  // Cache::hold_sealing sets these.
  static constexpr std::int64_t kNoHold = std::numeric_limits<std::int64_t>::max();
  std::int64_t most_sealed = kNoHold, more_tail = 0;

  // Blocks that a query at position t reads as sealed.
  std::int64_t sealed_for(std::int64_t t) const { return std::min(most_sealed, sealed_before(layout, t)); }
  bool holds_sealing() const { return most_sealed != kNoHold; }
  std::int64_t tail_capacity() const { return std::min(n_ctx, layout.block + layout.window) + more_tail; }
  // Tokens of sealed block b: the sinks are left out of the first.
  std::int64_t block_tokens(std::int64_t b) const {
    return b == 0 ? layout.block - layout.sink : layout.block;
  }
};

class Cache final : public KvCache {
 public:
  // type_k, type_v: specs for all layers (kv/codecs.h).
  Cache(const CacheShape& shape, const std::string& type_k, const std::string& type_v, ThreadPool& pool);

  const CacheShape& shape() const { return shape_; }
  std::int64_t n_tokens() const override { return n_tokens_; }
  void commit(std::int64_t n) override { n_tokens_ += n; }
  void reset() override;
  void truncate(std::int64_t n) override;
  CacheReport report() const override;
  const CacheLayer& layer(std::int64_t l) const { return layers_[static_cast<std::size_t>(l)]; }
  // For a backend that holds its cache elsewhere and saves through this one: what its layers hold, and of how
  // many tokens.
  CacheLayer& layer_to_fill(std::int64_t l) { return layers_[static_cast<std::size_t>(l)]; }
  void set_tokens(std::int64_t n) { n_tokens_ = n; }

  std::int64_t nearest_below(std::int64_t n) const override;

  // Keys and values of tokens [first, first + k.rows), which the cache holds, as the query that comes next
  // would see them: sinks and tail exact, sealed blocks decoded. k, v: [n, n_kv_heads * head_dim].
  void read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const;
  // The same of one KV head. k, v: [n, head_dim].
  void read_head(std::int64_t layer, std::int64_t head, std::int64_t first, Matrix k, Matrix v) const;
  // Frees the memory that appending works in; it comes back as needed.
  void drop_work();

  // Becomes what `other` is, of the same layers, heads and cache types; else, or where its tokens do not fit
  // into n_ctx, a value error with nothing changed.
  void copy_from(const Cache& other);
  // Takes over all tokens of a cache of the same shape whose codecs are exact: seals what is complete, as if
  // the rows had been appended here. What this cache held is gone.
  void convert_from(const Cache& exact);
  // Seals no further block until `reset`, and has room for `more` exact tokens behind those that it holds.
  // For measurements; a cache in this state depends on when it was called, and cannot be saved.
  void hold_sealing(std::int64_t more);

  void save(StateWriter& out) const override;
  void load(StateReader& in, std::int64_t n_tokens) override;

  // The exact rows that queries of this batch may read: tokens [begin, end) of each KV head, in the exact
  // codec's form.
  struct Exact {
    const std::byte* base = nullptr;
    std::int64_t head_stride = 0;  // bytes from one head to the next
    std::int64_t begin = 0, end = 0;
  };
  struct Staged {
    Exact k, v;
  };

  // Takes keys and values [n, n_kv_heads * head_dim] (keys after RoPE) of the next n tokens into a layer and
  // seals the blocks that are complete. What it returns holds until `settle`, which must follow before the
  // next layer.
  Staged append(std::int64_t layer, ConstMatrix k, ConstMatrix v);
  // The check that `append` begins with: every value is finite and fits the exact type, or a value error says
  // where one does not. first: position of the first row.
  void check_rows(std::int64_t layer, std::int64_t first, ConstMatrix k, ConstMatrix v) const;
  void settle(std::int64_t layer, std::int64_t n);

 private:
  bool can_truncate(std::int64_t n) const;
  void drop_blocks(CacheSide& side, std::int64_t keep, std::int64_t rows, std::int64_t capacity);
  Exact stage(CacheLayer& layer, CacheSide& side, Buffer<std::byte>& staging, ConstMatrix x);
  void seal(std::int64_t layer, const Staged& staged);
  void settle_side(const CacheLayer& layer, CacheSide& side, const Buffer<std::byte>& staging,
                   std::int64_t n);

  CacheShape shape_;
  ThreadPool& pool_;
  std::int64_t n_tokens_ = 0;
  std::unique_ptr<Codec> f16_, f32_;
  std::vector<CacheLayer> layers_;
  Buffer<std::byte> staging_k_, staging_v_;  // only for batches that do not fit into the tail
  Buffer<std::byte> slots_;                  // blocks as they are encoded, before their size is known
  std::vector<CodecWork> work_;              // one a thread
};

}  // namespace spectralkv
