// Estimates by the cache's own rules: sealed blocks as its codecs write them, sinks and tail exact.
#include "cli/inspect_memory.h"

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

// A block of noise: what is left of it holds no structure, so that its low-rank part is the smallest.
std::int64_t least_bytes(const Codec& codec, std::int64_t n_tokens) {
  const std::int64_t d = codec.head_dim();
  std::vector<float> values(static_cast<std::size_t>(n_tokens * d));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random_normal(1, i));
  std::vector<std::byte> out(static_cast<std::size_t>(codec.max_bytes(n_tokens)));
  CodecWork work;
  return codec.encode(ConstMatrix(values.data(), n_tokens, d), {}, out.data(), work);
}

TypeMemory estimate(const std::string& type, const ModelConfig& config, std::int64_t n_ctx) {
  TypeMemory out{type, 0, 0};
  for (const KvSide side : {KvSide::keys, KvSide::values}) {
    const BuiltCodec built = build_codec(type, config.head_dim, side);
    CacheLayer layer;
    layer.layout = built.layout;
    layer.n_ctx = n_ctx;
    const std::int64_t blocks = layer.sealed_for(n_ctx), heads = config.n_kv_heads;
    const bool f32 = built.codec->spec() == "f32";
    const std::int64_t exact_row = config.head_dim * (f32 ? 4 : 2);
    const std::int64_t exact = heads * (built.layout.sink + layer.tail_capacity()) * exact_row;
    const std::int64_t offsets = blocks * (heads + 1) * 4;
    const auto sealed = [&](const auto& bytes_of) {
      if (blocks == 0) return std::int64_t{0};
      return heads * (bytes_of(layer.block_tokens(0)) + (blocks - 1) * bytes_of(built.layout.block));
    };
    const std::int64_t most = sealed([&](std::int64_t n) { return built.codec->max_bytes(n); });
    const std::int64_t least =
        built.lossy ? sealed([&](std::int64_t n) { return least_bytes(*built.codec, n); }) : most;
    out.least += config.n_layers * (exact + offsets + least);
    out.most += config.n_layers * (exact + offsets + most);
  }
  return out;
}

std::optional<TypeMemory> estimate_if_possible(const std::string& type, const ModelConfig& config,
                                               std::int64_t n_ctx) {
  try {
    return estimate(type, config, n_ctx);
  } catch (const Error&) {  // it wants bits, or another head dimension
    return std::nullopt;
  }
}

}  // namespace

std::vector<TypeMemory> estimate_caches(const ModelConfig& config, std::int64_t n_ctx) {
  std::vector<TypeMemory> out;
  for (const CodecRow& row : codec_table()) {
    const std::string name(row.name);
    if (const auto plain = estimate_if_possible(name, config, n_ctx)) {
      out.push_back(*plain);
      continue;
    }
    for (const int bits : {2, 3, 4})
      if (const auto one = estimate_if_possible(concat(name, ":", bits), config, n_ctx)) out.push_back(*one);
  }
  return out;
}

std::int64_t estimate_work(const ModelConfig& c, std::int64_t n_batch) {
  const std::int64_t token =
      2 * c.n_embd + 2 * c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim + 2 * c.n_ff + c.rope.dims;
  return 4 * (n_batch * token + c.n_vocab);
}

}  // namespace spectralkv
