// Construction, truncation and the byte account of the CPU cache.
#include "kv/cache.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "base/error.h"
#include "kv/codecs/exact.h"

namespace spectralkv {
namespace {

std::size_t exact_bytes(const CacheSide& side, std::int64_t heads, std::int64_t tokens) {
  return static_cast<std::size_t>(heads * side.exact->max_bytes(tokens));
}

std::string side_name(const std::vector<CacheLayer>& layers, CacheSide CacheLayer::*side) {
  std::vector<std::string> texts;
  for (const auto& layer : layers) texts.push_back((layer.*side).built.text);
  return layers_name(texts);
}

}  // namespace

CacheLayout shared_layout(const BuiltCodec& k, const BuiltCodec& v, std::int64_t layer) {
  if (!k.lossy || !v.lossy) return k.lossy ? k.layout : v.layout;
  check(k.layout.block == v.layout.block, "kv", "layer ", layer, ": K '", k.text, "' has blocks of ",
        k.layout.block, " tokens and V '", v.text, "' of ", v.layout.block, ": they must agree");
  return {k.layout.block, std::max(k.layout.sink, v.layout.sink), std::max(k.layout.window, v.layout.window)};
}

// What most layers have, then the layers that have something else.
std::string layers_name(std::span<const std::string> codec_texts) {
  std::map<std::string, std::string> ranges;
  std::map<std::string, std::size_t> counts;
  std::string most;
  for (std::size_t l = 0; l < codec_texts.size();) {
    const std::string& text = codec_texts[l];
    std::size_t end = l + 1;
    while (end < codec_texts.size() && codec_texts[end] == text) ++end;
    ranges[text] += concat(ranges[text].empty() ? "" : ",", l, end - l > 1 ? concat("-", end - 1) : "");
    if ((counts[text] += end - l) > counts[most]) most = text;
    l = end;
  }
  std::string name = most;
  for (const auto& [text, where] : ranges)
    if (text != most) name += concat(";layers ", where, "=", text);
  return name;
}

bool can_go_back(const CacheLayout& layout, bool lossy, std::int64_t blocks, std::int64_t n) {
  if (!lossy || n == 0) return true;
  const std::int64_t sealed = blocks * layout.block;
  if (n >= sealed) return sealed_before(layout, n) >= blocks;
  return layout.window == 0 && n % layout.block == 0;
}

void check_truncation(std::int64_t n, std::int64_t n_tokens, const std::function<bool(std::int64_t)>& can) {
  check(n >= 0 && n <= n_tokens, "kv", "truncate: ", n, " is not within 0 to ", n_tokens, " tokens");
  if (n == n_tokens || can(n)) return;
  std::int64_t below = n, above = n;
  while (!can(below)) --below;
  while (above < n_tokens && !can(above)) ++above;
  const std::int64_t nearest = n - below <= above - n ? below : above;
  fail(ErrorKind::value, "kv", "the cache cannot go back to ", n,
       " tokens: its blocks are sealed whole; the nearest length that it can go back to is ", nearest);
}

Cache::Cache(const CacheShape& shape, const std::string& type_k, const std::string& type_v, ThreadPool& pool)
    : shape_(shape),
      pool_(pool),
      f16_(make_f16_codec(shape.head_dim)),
      f32_(make_f32_codec(shape.head_dim)),
      layers_(static_cast<std::size_t>(shape.n_layers)),
      work_(static_cast<std::size_t>(pool.size())) {
  const auto k_texts = split_layers(type_k, shape.n_layers), v_texts = split_layers(type_v, shape.n_layers);
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    CacheLayer& layer = layers_[l];
    layer.k.built = build_codec(k_texts[l], shape.head_dim, KvSide::keys);
    layer.v.built = build_codec(v_texts[l], shape.head_dim, KvSide::values);
    layer.lossy = layer.k.built.lossy || layer.v.built.lossy;
    layer.n_ctx = shape.n_ctx;
    layer.layout =
        shared_layout(layer.k.built, layer.v.built, shape.first_layer + static_cast<std::int64_t>(l));
    for (CacheSide* side : {&layer.k, &layer.v}) {
      side->exact = side->built.codec->spec() == "f32" ? f32_.get() : f16_.get();
      side->sinks = Buffer<std::byte>(exact_bytes(*side, shape.n_kv_heads, layer.layout.sink));
      side->tail = Buffer<std::byte>(exact_bytes(*side, shape.n_kv_heads, layer.tail_capacity()));
    }
  }
}

void Cache::reset() {
  n_tokens_ = 0;
  for (auto& layer : layers_) {
    layer.k.blocks.clear();
    layer.v.blocks.clear();
    layer.most_sealed = CacheLayer::kNoHold;
  }
}

// Keeps the first `keep` blocks. If the first one that goes is exact, its first `rows` tokens become the
// tail.
void Cache::drop_blocks(CacheSide& side, std::int64_t keep, std::int64_t rows, std::int64_t capacity) {
  if (static_cast<std::int64_t>(side.blocks.size()) <= keep) return;
  const SealedBlock& block = side.blocks[static_cast<std::size_t>(keep)];
  for (std::int64_t h = 0; h < shape_.n_kv_heads && rows > 0; ++h)
    std::memcpy(side.tail.data() + side.exact->max_bytes(h * capacity),
                block.head(static_cast<std::size_t>(h)).data(),
                static_cast<std::size_t>(side.exact->max_bytes(rows)));
  side.blocks.resize(static_cast<std::size_t>(keep));
}

bool Cache::can_truncate(std::int64_t n) const {
  return std::all_of(layers_.begin(), layers_.end(), [n](const CacheLayer& layer) {
    return can_go_back(layer.layout, layer.lossy, std::ssize(layer.k.blocks), n);
  });
}

void Cache::truncate(std::int64_t n) {
  check_truncation(n, n_tokens_, [this](std::int64_t m) { return can_truncate(m); });
  if (n == n_tokens_) return;
  for (auto& layer : layers_) {
    const std::int64_t keep = layer.sealed_for(n), rows = n - keep * layer.layout.block;
    drop_blocks(layer.k, keep, rows, layer.tail_capacity());
    drop_blocks(layer.v, keep, rows, layer.tail_capacity());
  }
  n_tokens_ = n;
}

CacheReport Cache::report() const {
  CacheReport report;
  report.n_layers = shape_.n_layers;
  report.n_kv_heads = shape_.n_kv_heads;
  report.head_dim = shape_.head_dim;
  report.n_ctx = shape_.n_ctx;
  report.n_tokens = n_tokens_;
  const auto add = [&](CacheSide CacheLayer::*which, CacheSideReport& out) {
    out.codec = side_name(layers_, which);
    double paper = 0;
    for (const auto& layer : layers_) {
      const CacheSide& side = layer.*which;
      out.exact_bytes += static_cast<std::int64_t>(side.sinks.bytes() + side.tail.bytes());
      for (std::size_t b = 0; b < side.blocks.size(); ++b) {
        const SealedBlock& block = side.blocks[b];
        const std::int64_t n = layer.block_tokens(static_cast<std::int64_t>(b));
        out.sealed_bytes += static_cast<std::int64_t>(block.bytes.bytes() + block.offsets.size() * 4);
        out.sealed_entries += n * shape_.n_kv_heads * shape_.head_dim;
        for (std::size_t h = 0; h + 1 < block.offsets.size(); ++h)
          paper += side.built.codec->paper_bits(block.head(h).data(), n, std::ssize(block.head(h)));
      }
    }
    if (out.sealed_entries > 0) {
      out.paper_bits = paper / static_cast<double>(out.sealed_entries);
      out.honest_bits = 8.0 * static_cast<double>(out.sealed_bytes) / static_cast<double>(out.sealed_entries);
    }
  };
  add(&CacheLayer::k, report.k);
  add(&CacheLayer::v, report.v);
  report.work_bytes = static_cast<std::int64_t>(staging_k_.bytes() + staging_v_.bytes() + slots_.bytes());
  for (const auto& work : work_) report.work_bytes += work.held_bytes();
  return report;
}

}  // namespace spectralkv
