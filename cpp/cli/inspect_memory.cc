// Estimates of every cache type that a model can have.
#include "cli/inspect_memory.h"

#include <optional>

#include "base/error.h"
#include "kv/cache_estimate.h"

namespace spectralkv {
namespace {

TypeMemory estimate(const std::string& type, const CacheShape& shape, std::int64_t n_ctx) {
  const CacheFormat format(shape, type, type);
  const CacheEstimate full = estimate_cache(format, n_ctx);
  return {type, format.name_k(), full.least, full.most};
}

std::optional<TypeMemory> estimate_if_possible(const std::string& type, const CacheShape& shape,
                                               std::int64_t n_ctx) {
  try {
    return estimate(type, shape, n_ctx);
  } catch (const Error&) {  // it wants bits, or another head dimension
    return std::nullopt;
  }
}

}  // namespace

std::vector<TypeMemory> estimate_caches(const CacheShape& shape, std::int64_t n_ctx) {
  std::vector<TypeMemory> out;
  for (const CodecRow& row : codec_table()) {
    const std::string name(row.name);
    if (const auto plain = estimate_if_possible(name, shape, n_ctx)) {
      out.push_back(*plain);
      continue;
    }
    for (const int bits : {2, 3, 4})
      if (const auto one = estimate_if_possible(concat(name, ":", bits), shape, n_ctx)) out.push_back(*one);
  }
  return out;
}

std::int64_t estimate_work(const ModelConfig& c, std::int64_t n_batch) {
  const std::int64_t experts = c.n_experts + c.n_experts_used * c.n_embd;
  const std::int64_t token = 2 * c.n_embd + 2 * c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim +
                             2 * c.feed_forwards() * c.n_ff + experts + c.rope.dims;
  return 4 * (n_batch * token + c.n_vocab);
}

}  // namespace spectralkv
