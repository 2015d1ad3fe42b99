// The cache of one sequence: what every backend's can do, and the CPU's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "kv/cache_format.h"
#include "kv/layer_store.h"
#include "kv/report.h"
#include "kv/sealed_block.h"

namespace spectralkv {

class StateReader;
class StateWriter;

class KvCache {
 public:
  // Room for up to n_ctx tokens.
  KvCache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx)
      : format_(std::move(format)), n_ctx_(n_ctx) {}
  virtual ~KvCache() = default;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;

  const CacheFormat& format() const { return *format_; }
  const std::shared_ptr<const CacheFormat>& shared_format() const { return format_; }
  std::int64_t n_ctx() const { return n_ctx_; }
  // Tokens that every layer has taken.
  virtual std::int64_t n_tokens() const = 0;
  virtual void reset() = 0;
  // Keeps the first n tokens, 0 <= n <= n_tokens(). A value error names the nearest n that is possible.
  void truncate(std::int64_t n);
  // The largest length up to n that truncate takes.
  std::int64_t nearest_below(std::int64_t n) const { return format_->nearest_below(n_tokens(), n); }
  // A cache of the same format with the same tokens and room for n_ctx. Both share the sealed blocks that
  // there are, and go on apart. A value error where the tokens do not fit.
  std::unique_ptr<KvCache> fork(std::int64_t n_ctx) const;
  // A fork to be kept, which takes no more memory than its tokens need: only forks may be made of it, and
  // files.
  std::unique_ptr<const KvCache> keepsake() const { return small_twin(); }
  virtual CacheReport report() const = 0;
  // Bytes of sinks and tail, as allocated.
  virtual std::int64_t exact_bytes() const = 0;

  // Keys and values of tokens [first, first + k.rows) of a layer, as the query that comes next would see
  // them: sinks and tail exact, sealed blocks decoded. k, v: [n, n_kv_heads * head_dim] in the host's memory.
  virtual void read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const = 0;

  // A state file's part for the cache, the same on every backend. `load` checks everything; when it throws,
  // what this cache holds is undefined, so give it a fresh one. n_tokens: what the file said, at most the
  // context's length.
  virtual void save(StateWriter& out) const = 0;
  virtual void load(StateReader& in, std::int64_t n_tokens) = 0;

 protected:
  virtual void cut(std::int64_t n) = 0;  // a truncation that is possible
  virtual std::unique_ptr<KvCache> twin(std::int64_t n_ctx) const = 0;
  virtual std::unique_ptr<KvCache> small_twin() const { return twin(n_tokens()); }

 private:
  std::shared_ptr<const CacheFormat> format_;
  std::int64_t n_ctx_;
};

class Cache final : public KvCache {
 public:
  // pool: where sealed blocks are counted, those that a state file brings too.
  Cache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx, BlockPool pool);

  std::int64_t n_tokens() const override { return layers_.back().n_tokens; }
  void reset() override;
  CacheReport report() const override;
  std::int64_t exact_bytes() const override;
  void read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const override;
  void save(StateWriter& out) const override;
  void load(StateReader& in, std::int64_t n_tokens) override;

  const LayerStore& layer(std::int64_t l) const { return layers_[static_cast<std::size_t>(l)]; }
  LayerStore& layer(std::int64_t l) { return layers_[static_cast<std::size_t>(l)]; }

 private:
  Cache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx, BlockPool pool,
        std::vector<LayerStore> layers);
  void cut(std::int64_t n) override;
  std::unique_ptr<KvCache> twin(std::int64_t n_ctx) const override;
  std::unique_ptr<KvCache> small_twin() const override;

  BlockPool pool_;
  std::vector<LayerStore> layers_;
};

}  // namespace spectralkv
