// What a cache writes into a state file, and how it takes it back (kv/state_file.h has the format).
#include <algorithm>

#include "kv/cache.h"
#include "kv/codecs/shared_tables.h"
#include "kv/state_file.h"

namespace spectralkv {
namespace {

// Rows 0 to n of each head, heads `capacity` rows apart.
void write_rows(StateWriter& out, const Buffer<std::byte>& rows, const Codec& codec, std::int64_t heads,
                std::int64_t capacity, std::int64_t n) {
  for (std::int64_t h = 0; h < heads && n > 0; ++h)
    out.bytes({rows.data() + codec.max_bytes(h * capacity), static_cast<std::size_t>(codec.max_bytes(n))});
}

void read_rows(StateReader& in, Buffer<std::byte>& rows, const Codec& codec, std::int64_t heads,
               std::int64_t capacity, std::int64_t n) {
  for (std::int64_t h = 0; h < heads && n > 0; ++h) {
    const auto from = in.bytes(static_cast<std::uint64_t>(codec.max_bytes(n)));
    std::copy(from.begin(), from.end(), rows.data() + codec.max_bytes(h * capacity));
  }
}

// One block of all heads: its offsets rise, its bytes are there, and each head's are a block of this codec.
SealedBlock read_block(StateReader& in, const Codec& codec, std::int64_t heads, std::int64_t n,
                       const std::string& where) {
  SealedBlock block;
  const auto most = static_cast<std::uint64_t>(codec.max_bytes(n));
  for (std::int64_t h = 0; h <= heads; ++h) {
    const std::uint64_t last = h == 0 ? 0 : block.offsets.back();
    const auto offset = in.number<std::uint32_t>();
    in.require(h == 0 ? offset == 0 : offset > last && offset - last <= most, where,
               ": a block's offsets are wrong");
    block.offsets.push_back(offset);
  }
  const auto from = in.bytes(block.offsets.back());
  block.bytes = Buffer<std::byte>(from.size());
  std::copy(from.begin(), from.end(), block.bytes.data());
  for (std::size_t h = 0; h + 1 < block.offsets.size(); ++h)
    in.require(codec.valid(block.head(h).data(), n, std::ssize(block.head(h))), where,
               ": a block of KV head ", h, " is no block of ", codec.spec());
  return block;
}

}  // namespace

void Cache::save(StateWriter& out) const {
  const std::int64_t heads = shape_.n_kv_heads;
  out.number(kCacheRotationSeed);
  for (const CacheLayer& layer : layers_) {
    const CacheLayout& layout = layer.layout;
    const std::size_t n_blocks = layer.k.blocks.size();
    const std::int64_t tail = n_tokens_ - static_cast<std::int64_t>(n_blocks) * layout.block;
    check(!layer.holds_sealing(), "kv", "a cache that holds its sealing cannot be saved");
    for (const std::int64_t size : {layout.block, layout.sink, layout.window})
      out.number(static_cast<std::uint32_t>(size));
    out.number(static_cast<std::uint64_t>(n_blocks));
    for (const CacheSide* side : {&layer.k, &layer.v}) {
      out.text(side->built.text);
      out.text(side->exact->spec());
      for (const SealedBlock& block : side->blocks) {
        for (const std::uint32_t offset : block.offsets) out.number(offset);
        out.bytes(block.bytes.span().first(block.offsets.back()));
      }
      write_rows(out, side->sinks, *side->exact, heads, layout.sink, std::min(layout.sink, n_tokens_));
      write_rows(out, side->tail, *side->exact, heads, layer.tail_capacity(), tail);
    }
  }
}

void Cache::load(StateReader& in, std::int64_t n_tokens) {
  reset();
  const std::int64_t heads = shape_.n_kv_heads;
  in.require(in.number<std::uint64_t>() == kCacheRotationSeed, "its blocks are turned by another rotation");
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    CacheLayer& layer = layers_[l];
    CacheLayout layout;
    for (std::int64_t* size : {&layout.block, &layout.sink, &layout.window})
      *size = in.number<std::uint32_t>();
    const auto n_blocks = in.number<std::uint64_t>();
    for (CacheSide* side : {&layer.k, &layer.v}) {
      const std::string where = concat("layer ", l, side == &layer.k ? ", K" : ", V");
      const std::string_view spec = in.text();
      in.require(spec == side->built.text, where, ": it was made with cache type '", spec,
                 "', this session has '", side->built.text, "'");
      if (side == &layer.k) {
        in.require(layout == layer.layout, "layer ", l, ": block, sink and window are ", layout.block, ", ",
                   layout.sink, ", ", layout.window, " and not ", layer.layout.block, ", ", layer.layout.sink,
                   ", ", layer.layout.window);
        in.require(n_blocks == static_cast<std::uint64_t>(layer.sealed_for(n_tokens)), "layer ", l,
                   ": the number of blocks is wrong");
      }
      const std::string_view exact = in.text();
      in.require(exact == side->exact->spec(), where, ": its exact tokens are '", exact, "', not '",
                 side->exact->spec(), "'");
      for (std::uint64_t b = 0; b < n_blocks; ++b)
        side->blocks.push_back(read_block(in, *side->built.codec, heads,
                                          layer.block_tokens(static_cast<std::int64_t>(b)), where));
      read_rows(in, side->sinks, *side->exact, heads, layout.sink, std::min(layout.sink, n_tokens));
      read_rows(in, side->tail, *side->exact, heads, layer.tail_capacity(),
                n_tokens - static_cast<std::int64_t>(n_blocks) * layout.block);
    }
  }
  n_tokens_ = n_tokens;
}

}  // namespace spectralkv
