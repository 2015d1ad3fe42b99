// A sequence on the CPU is the stores of its layers.
#include "kv/cache.h"

#include "base/error.h"
#include "kv/layer_state.h"

namespace spectralkv {

void KvCache::truncate(std::int64_t n) {
  format_->check_truncation(n_tokens(), n);
  if (n < n_tokens()) cut(n);
}

std::unique_ptr<KvCache> KvCache::fork(std::int64_t n_ctx) const {
  check(n_tokens() <= n_ctx, "kv", "fork: ", n_tokens(), " tokens do not fit into a context of ", n_ctx);
  return twin(n_ctx);
}

Cache::Cache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx, BlockPool pool)
    : Cache(std::move(format), n_ctx, std::move(pool), {}) {
  for (const LayerFormat& layer : this->format().layers()) layers_.emplace_back(layer, n_ctx);
}

Cache::Cache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx, BlockPool pool,
             std::vector<LayerStore> layers)
    : KvCache(std::move(format), n_ctx), pool_(std::move(pool)), layers_(std::move(layers)) {}

void Cache::reset() {
  for (LayerStore& layer : layers_) layer.reset();
}

void Cache::cut(std::int64_t n) {
  for (LayerStore& layer : layers_) layer.truncate(n);
}

std::unique_ptr<KvCache> Cache::twin(std::int64_t n_ctx) const {
  std::vector<LayerStore> layers;
  for (const LayerStore& layer : layers_) layers.push_back(layer.fork(n_ctx));
  return std::unique_ptr<KvCache>(new Cache(shared_format(), n_ctx, pool_, std::move(layers)));
}

std::unique_ptr<KvCache> Cache::small_twin() const {
  std::vector<LayerStore> layers;
  for (const LayerStore& layer : layers_) layers.push_back(layer.keepsake());
  return std::unique_ptr<KvCache>(new Cache(shared_format(), n_tokens(), pool_, std::move(layers)));
}

std::int64_t Cache::exact_bytes() const {
  std::int64_t bytes = 0;
  for (const LayerStore& layer : layers_)
    for (const SideStore* side : {&layer.k, &layer.v})
      bytes += static_cast<std::int64_t>(side->sinks.bytes() + side->tail.bytes());
  return bytes;
}

CacheReport Cache::report() const {
  CacheReport report = empty_report(format(), n_ctx(), n_tokens());
  SideCounter k(report.k), v(report.v);
  for (const LayerStore& layer : layers_) layer.count(report.k, k, report.v, v);
  return report;
}

void Cache::read(std::int64_t l, std::int64_t first, Matrix k, Matrix v) const {
  const std::int64_t d = format().shape().head_dim;
  for (std::int64_t h = 0; h < format().shape().n_kv_heads; ++h)
    layer(l).read_head(h, first, k.cols_range(h * d, d), v.cols_range(h * d, d));
}

void Cache::save(StateWriter& out) const {
  write_cache_head(out, format(), n_tokens());
  for (const LayerStore& layer : layers_) write_layer(out, layer);
}

void Cache::load(StateReader& in, std::int64_t n_tokens) {
  read_cache_head(in, format(), n_tokens);
  for (LayerStore& layer : layers_) read_layer(in, n_tokens, pool_, layer);
}

}  // namespace spectralkv
