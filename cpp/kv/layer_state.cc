// Layers in a state file: every number that comes from one is checked.
#include "kv/layer_state.h"

#include <algorithm>
#include <string>
#include <vector>

#include "kv/codecs.h"
#include "kv/codecs/shared_tables.h"

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

void write_block(StateWriter& out, const SealedBlock& block) {
  std::uint32_t end = 0;
  out.number(end);
  for (std::size_t h = 0; h < block.n_heads(); ++h)
    out.number(end += static_cast<std::uint32_t>(block.head(h).size()));
  for (std::size_t h = 0; h < block.n_heads(); ++h) out.bytes(block.head(h));
}

// One block of all heads: its offsets rise, its bytes are there, and each head's are a block of its codec.
SealedBlock read_block(StateReader& in, const SideFormat& of, std::int64_t heads, std::int64_t n,
                       const BlockPool& pool, const std::string& where) {
  std::vector<std::uint32_t> offsets;
  const auto most = static_cast<std::uint64_t>(of.max_bytes(n));
  for (std::int64_t h = 0; h <= heads; ++h) {
    const std::uint64_t last = h == 0 ? 0 : offsets.back();
    const auto offset = in.number<std::uint32_t>();
    in.require(h == 0 ? offset == 0 : offset > last && offset - last <= most, where,
               ": a block's offsets are wrong");
    offsets.push_back(offset);
  }
  const auto bytes = in.bytes(offsets.back());
  std::vector<std::span<const std::byte>> of_heads;
  for (std::size_t h = 0; h + 1 < offsets.size(); ++h)
    of_heads.push_back(bytes.subspan(offsets[h], offsets[h + 1] - offsets[h]));
  SealedBlock block(pool, of_heads);
  for (std::size_t h = 0; h < of_heads.size(); ++h) {
    const Codec& codec = of.codec(static_cast<std::int64_t>(h));
    in.require(codec.valid(block.head(h).data(), n, std::ssize(block.head(h))), where,
               ": a block of KV head ", h, " is no block of ", codec.spec());
  }
  return block;
}

// What a state file calls a cache type, as a command line would have it today.
std::string in_todays_words(std::string_view spec) {
  const bool paper = spec.find(",paper") != std::string_view::npos;
  return paper ? std::string(spec) : with_scalar_residuals(spec);
}

// The calibration by which blocks were sealed; 0: by none.
std::uint64_t seal_of(const CacheFormat& format, std::int64_t n_tokens) {
  return format.calibration() && format.seals(n_tokens) ? format.calibration()->fingerprint() : 0;
}

}  // namespace

void write_cache_head(StateWriter& out, const CacheFormat& format, std::int64_t n_tokens) {
  out.number(kCacheRotationSeed ^ seal_of(format, n_tokens));
}

void write_layer(StateWriter& out, const LayerStore& store) {
  const LayerFormat& format = *store.format;
  const CacheLayout& layout = format.layout;
  check(layout.seal_until == CacheLayout::kNowhere, "kv",
        "a cache that holds back its sealing cannot be saved");
  for (const std::int64_t size : {layout.block, layout.sink, layout.window})
    out.number(static_cast<std::uint32_t>(size));
  out.number(static_cast<std::uint64_t>(store.k.blocks.size()));
  const auto write_side = [&](const SideFormat& of, const SideStore& side) {
    out.text(of.built().in_states);
    out.text(of.exact->spec());
    for (const SealedBlock& block : side.blocks) write_block(out, block);
    write_rows(out, side.sinks, *of.exact, format.n_kv_heads, layout.sink,
               std::min(layout.sink, store.n_tokens));
    write_rows(out, side.tail, *of.exact, format.n_kv_heads, store.tail_capacity,
               layout.tail_tokens(store.n_tokens));
  };
  write_side(format.k, store.k);
  write_side(format.v, store.v);
}

bool uncalibrated_head(const StateReader& in) {
  return in.peek<std::uint64_t>() == kCacheRotationSeed;
}

void read_cache_head(StateReader& in, const CacheFormat& format, std::int64_t n_tokens) {
  const std::uint64_t held = in.number<std::uint64_t>() ^ kCacheRotationSeed, own = seal_of(format, n_tokens);
  in.require(held == own, held == 0 ? "its blocks were sealed without a calibration, and this session has one"
                          : own == 0 ? "its blocks were sealed with a calibration, and this session has none"
                                     : "its blocks were sealed with another calibration than this session's");
}

void read_layer(StateReader& in, std::int64_t n_tokens, const BlockPool& pool, LayerStore& store) {
  const LayerFormat& format = *store.format;
  CacheLayout layout;
  for (std::int64_t* size : {&layout.block, &layout.sink, &layout.window}) *size = in.number<std::uint32_t>();
  const auto n_blocks = in.number<std::uint64_t>();
  store.reset();
  const auto read_side = [&](const SideFormat& of, SideStore& side) {
    const bool keys = &side == &store.k;
    const std::string where = concat("layer ", format.layer, keys ? ", K" : ", V");
    const std::string_view spec = in.text();
    in.require(spec == of.built().in_states, where, ": it was made with cache type '", in_todays_words(spec),
               "', this session has '", in_todays_words(of.built().in_states), "'");
    if (keys) {
      in.require(layout == format.layout, "layer ", format.layer, ": block, sink and window are ",
                 layout.block, ", ", layout.sink, ", ", layout.window, " and not ", format.layout.block, ", ",
                 format.layout.sink, ", ", format.layout.window);
      in.require(n_blocks == static_cast<std::uint64_t>(layout.sealed_for(n_tokens)), "layer ", format.layer,
                 ": the number of blocks is wrong");
    }
    const std::string_view exact = in.text();
    in.require(exact == of.exact->spec(), where, ": its exact tokens are '", exact, "', not '",
               of.exact->spec(), "'");
    for (std::uint64_t b = 0; b < n_blocks; ++b)
      side.blocks.push_back(read_block(in, of, format.n_kv_heads,
                                       layout.block_tokens(static_cast<std::int64_t>(b)), pool, where));
    read_rows(in, side.sinks, *of.exact, format.n_kv_heads, layout.sink, std::min(layout.sink, n_tokens));
    read_rows(in, side.tail, *of.exact, format.n_kv_heads, store.tail_capacity, layout.tail_tokens(n_tokens));
  };
  read_side(format.k, store.k);
  read_side(format.v, store.v);
  store.n_tokens = n_tokens;
}

}  // namespace spectralkv
