// Blocks of a fixed size by what their codec says of it; for the others a block of noise is encoded, in which
// a codec finds nothing that it could take in besides.
#include "engine/cache_estimate.h"

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/random.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

// Bytes of blocks by codec and tokens, each found once.
class BlockSizes {
 public:
  struct Size {
    std::int64_t bytes = 0;
    bool fixed = true;
  };
  Size of(const BuiltCodec& built, std::int64_t n) {
    const auto [entry, is_new] = known_.try_emplace({built.text, n});
    if (is_new) entry->second = measure(*built.codec, n);
    return entry->second;
  }

 private:
  static Size measure(const Codec& codec, std::int64_t n) {
    const std::int64_t most = codec.max_bytes(n), cols = codec.head_dim();
    std::vector<float> noise(static_cast<std::size_t>(n * cols));
    for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<float>(random_normal(1, i));
    std::vector<std::byte> out(static_cast<std::size_t>(most));
    CodecWork work;
    const std::int64_t bytes = codec.encode(ConstMatrix(noise.data(), n, cols), {}, out.data(), work);
    return {bytes, bytes == most};
  }

  std::map<std::pair<std::string, std::int64_t>, Size> known_;
};

}  // namespace

CacheEstimate estimate_cache(const Session& session) {
  CacheEstimate estimate;
  const auto* cache = dynamic_cast<const Cache*>(&session.cache());
  ThreadPool pool(1);
  std::unique_ptr<Cache> twin;  // another backend's cache holds the same blocks
  if (cache == nullptr) {
    const ModelConfig& c = session.engine().config();
    twin = std::make_unique<Cache>(CacheShape{c.n_layers, c.n_kv_heads, c.head_dim, session.n_ctx()},
                                   session.options().type_k, session.options().type_v, pool);
    cache = twin.get();
  }
  const CacheShape& shape = cache->shape();
  const auto add = [&](CacheSide CacheLayer::*which, CacheEstimate::Side& out) {
    BlockSizes sizes;  // of this side: keys and values may be stored differently
    std::int64_t sealed = 0, entries = 0;
    for (std::int64_t l = 0; l < shape.n_layers; ++l) {
      const CacheLayer& layer = cache->layer(l);
      const CacheSide& side = layer.*which;
      estimate.bytes += static_cast<std::int64_t>(side.sinks.bytes() + side.tail.bytes());
      const std::int64_t blocks = layer.sealed_for(shape.n_ctx);
      // The first block, which leaves the sinks out, and the others, which are alike.
      for (const auto& [b, count] :
           {std::pair<std::int64_t, std::int64_t>{0, std::min<std::int64_t>(blocks, 1)},
            {1, std::max<std::int64_t>(blocks - 1, 0)}}) {
        if (count == 0) continue;
        const std::int64_t n = layer.block_tokens(b);
        const BlockSizes::Size size = sizes.of(side.built, n);
        out.at_least |= !size.fixed;
        entries += count * n * shape.n_kv_heads * shape.head_dim;
        sealed += count * (shape.n_kv_heads * size.bytes + (shape.n_kv_heads + 1) * 4);  // and the offsets
      }
    }
    const std::int64_t tail_bytes = (cache->layer(0).*which).exact->max_bytes(1);
    out.bits = entries > 0 ? 8.0 * static_cast<double>(sealed) / static_cast<double>(entries)
                           : 8.0 * static_cast<double>(tail_bytes) / static_cast<double>(shape.head_dim);
    estimate.bytes += sealed;
    estimate.at_least |= out.at_least;
  };
  add(&CacheLayer::k, estimate.k);
  add(&CacheLayer::v, estimate.v);
  return estimate;
}

}  // namespace spectralkv
