// A block of noise is encoded, in which a codec finds nothing that it could take in besides; a codec whose
// blocks have one size says so by taking that for noise too.
#include "kv/cache_estimate.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "base/random.h"
#include "kv/sealed_block.h"

namespace spectralkv {
namespace {

struct BlockSize {
  std::int64_t least = 0, most = 0;
};

BlockSize measure(const Codec& codec, std::int64_t n) {
  const std::int64_t most = codec.max_bytes(n), d = codec.head_dim();
  std::vector<float> noise(static_cast<std::size_t>(n * d));
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<float>(random_normal(1, i));
  std::vector<std::byte> out(static_cast<std::size_t>(most));
  CodecWork work;
  return {codec.encode(ConstMatrix(noise.data(), n, d), {}, out.data(), work), most};
}

// Of heads' blocks, each size found once. Codecs of one spec differ from head to head by their widths, which
// the most that a block takes tells apart.
class BlockSizes {
 public:
  const BlockSize& of(const std::string& text, const Codec& codec, std::int64_t n) {
    const auto [entry, is_new] = known_.try_emplace({text, n, codec.max_bytes(n)});
    if (is_new) entry->second = measure(codec, n);
    return entry->second;
  }

 private:
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, BlockSize> known_;
};

void add_side(const CacheFormat& format, SideFormat LayerFormat::*which, std::int64_t n_ctx,
              CacheEstimate& sum, CacheEstimate::Side& out) {
  BlockSizes sizes;
  BlockSize sealed;
  std::int64_t entries = 0;
  for (const LayerFormat& layer : format.layers()) {
    const SideFormat& side = layer.*which;
    const std::int64_t exact = layer.exact_bytes(side, n_ctx), blocks = layer.layout.sealed_for(n_ctx);
    sum.least += exact;
    sum.most += exact;
    // The first block, which leaves the sinks out, and the others, which are alike.
    for (const std::int64_t b : {0, 1}) {
      const std::int64_t count = b == 0 ? std::min<std::int64_t>(blocks, 1) : blocks - 1;
      if (count <= 0) continue;
      const std::int64_t n = layer.layout.block_tokens(b), heads = layer.n_kv_heads;
      entries += count * n * heads * layer.head_dim;
      sealed.least += count * SealedBlock::overhead(heads);
      sealed.most += count * SealedBlock::overhead(heads);
      for (std::int64_t h = 0; h < heads; ++h) {
        const BlockSize& size = sizes.of(side.built().text, side.codec(h), n);
        out.at_least |= size.least < size.most;
        sealed.least += count * size.least;
        sealed.most += count * size.most;
      }
    }
  }
  sum.least += sealed.least;
  sum.most += sealed.most;
  out.bits = entries > 0 ? 8.0 * static_cast<double>(sealed.least) / static_cast<double>(entries)
                         : format.exact_bits(which);
}

}  // namespace

CacheEstimate estimate_cache(const CacheFormat& format, std::int64_t n_ctx) {
  CacheEstimate estimate;
  add_side(format, &LayerFormat::k, n_ctx, estimate, estimate.k);
  add_side(format, &LayerFormat::v, n_ctx, estimate, estimate.v);
  return estimate;
}

}  // namespace spectralkv
