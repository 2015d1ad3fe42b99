// Reads a text exactly, and stops at each layer of its last batch to measure.
#include "measure/fidelity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "measure/fidelity_layer.h"
#include "measure/tap.h"
#include "model/model.h"

namespace spectralkv {
namespace {

class FidelityRun {
 public:
  FidelityRun(Engine& engine, std::span<const Token> tokens, const FidelityOptions& options,
              const FidelityHooks& hooks)
      : engine_(engine), tokens_(tokens), options_(options), hooks_(hooks), pool_(options.n_threads) {
    settle();
  }

  FidelityResult run() {
    const ModelConfig& c = engine_.config();
    result_.n_tokens = options_.n_ctx;
    result_.n_queries = options_.n_queries;
    result_.n_kv_heads = c.n_kv_heads;
    result_.head_dim = c.head_dim;
    const auto d = static_cast<double>(c.head_dim);
    result_.random_delocalisation = std::sqrt(2 * std::log(d) / d);
    if (options_.all_codecs) result_.all_codecs = comparable_codecs(c.head_dim);

    Backend& backend = engine_.backend();
    const std::unique_ptr<KvCache> cache =
        backend.make_cache(std::make_shared<const CacheFormat>(shape_, "f32", "f32"), options_.n_ctx);
    exact_ = cache.get();
    Scratch scratch(backend, c, std::max(options_.n_batch, options_.n_queries), 1);
    const auto n_context = static_cast<std::size_t>(options_.n_ctx - options_.n_queries);
    for (std::size_t at = 0; at < n_context;) {
      check_cancelled();
      const std::size_t n = std::min(static_cast<std::size_t>(options_.n_batch), n_context - at);
      const StepPart part{cache.get(), tokens_.subspan(at, n), 0};
      engine_.model().forward(backend, scratch, {&part, 1});
      at += n;
      report("tokens", static_cast<std::int64_t>(at), static_cast<std::int64_t>(n_context));
    }

    const auto floats = static_cast<std::size_t>(options_.n_ctx * c.n_kv_heads * c.head_dim);
    k_ = Buffer<float>(floats);
    v_ = Buffer<float>(floats);
    attended_ = Buffer<float>(static_cast<std::size_t>(options_.n_queries * c.n_heads * c.head_dim));
    q_ = Buffer<float>(attended_.size());
    TapBackend tap(backend, [this](Step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q,
                                   ConstMatrix k, ConstMatrix v) { look(layer, shape, q, k, v); });
    const StepPart queries{cache.get(), tokens_.subspan(n_context), 0};
    engine_.model().forward(tap, scratch, {&queries, 1});
    return std::move(result_);
  }

 private:
  // Checks the options and fills in what they leave open.
  void settle() {
    const ModelConfig& c = engine_.config();
    const auto n = static_cast<std::int64_t>(tokens_.size());
    if (options_.n_ctx == 0) options_.n_ctx = n;
    check(options_.n_ctx >= 1 && options_.n_ctx <= n, "measure", "fidelity: ", options_.n_ctx,
          " tokens were asked for (-c), the text has ", n);
    check(options_.n_ctx <= c.context_length, "measure", "fidelity: ", options_.n_ctx,
          " tokens are more than the model's context of ", c.context_length, "; give a smaller -c");
    check(options_.n_queries >= 1, "measure", "fidelity: n_queries must be at least 1, got ",
          options_.n_queries);
    tokens_ = tokens_.first(static_cast<std::size_t>(options_.n_ctx));
    for (const Token token : tokens_)
      check(token >= 0 && token < c.n_vocab, "measure", "fidelity: token ", token,
            " is not within the vocabulary of ", c.n_vocab);
    if (options_.layers.empty()) {
      options_.layers.resize(static_cast<std::size_t>(c.n_layers));
      std::iota(options_.layers.begin(), options_.layers.end(), 0);
    }
    shape_ = c.cache_shape();
    const CacheFormat format(shape_, options_.type_k, options_.type_v);
    result_.type_k = format.name_k();
    result_.type_v = format.name_v();
    if (format.calibrated() || options_.all_codecs)
      calibration_ = engine_.calibrations().make(hooks_.cancelled);
    for (const std::int64_t l : options_.layers) {
      check(l >= 0 && l < c.n_layers, "measure", "fidelity: layer ", l, " is not within 0 to ",
            c.n_layers - 1);
      const CacheLayout& layout = format.layer(l).layout;
      const std::int64_t need = layout.block + layout.window + options_.n_queries;
      check(options_.n_ctx >= need, "measure", "fidelity: ", options_.n_ctx,
            " tokens are too few for a block of ", layout.block, " and ", options_.n_queries, " queries",
            layout.window > 0 ? concat(" behind a window of ", layout.window) : "", ": it takes at least ",
            need);
      layouts_.push_back(layout);
      blocks_.push_back(sealed_ranges(layout, options_.n_ctx - options_.n_queries));
    }
  }

  void check_cancelled() const {
    if (hooks_.cancelled && hooks_.cancelled())
      fail(ErrorKind::interrupted, "measure", "fidelity: interrupted");
  }

  void report(const char* unit, std::int64_t done, std::int64_t total) const {
    if (hooks_.progress) hooks_.progress(unit, done, total);
  }

  // One measurement more is done.
  void count() {
    check_cancelled();
    report("measurements", ++done_,
           static_cast<std::int64_t>(options_.layers.size() * (2 + result_.all_codecs.size())));
  }

  // The rows that the queries' batch brings, behind those of the exact cache.
  void gather(std::int64_t layer, ConstMatrix batch_k, ConstMatrix batch_v, Matrix k, Matrix v) {
    const std::int64_t n = k.rows - batch_k.rows;
    exact_->read(layer, 0, k.rows_range(0, n), v.rows_range(0, n));
    fetch(batch_k, k.row(n));
    fetch(batch_v, v.row(n));
  }

  // Rows out of the backend's memory, which may be a device's.
  void fetch(ConstMatrix rows, float* to) const {
    engine_.backend().read(rows.data, {to, static_cast<std::size_t>(rows.rows * rows.cols)});
  }

  void look(std::int64_t layer, const AttentionShape& shape, ConstMatrix batch_q, ConstMatrix batch_k,
            ConstMatrix batch_v) {
    const auto at = std::find(options_.layers.begin(), options_.layers.end(), layer);
    if (at == options_.layers.end()) return;
    const auto index = static_cast<std::size_t>(at - options_.layers.begin());
    const Matrix k(k_.data(), options_.n_ctx, batch_k.cols), v(v_.data(), options_.n_ctx, batch_k.cols);
    const Matrix q(q_.data(), batch_q.rows, batch_q.cols);
    gather(layer, batch_k, batch_v, k, v);
    fetch(batch_q, q_.data());
    const LayerRows rows{layer, shape_, shape, k, v, q};
    const Matrix attended(attended_.data(), q.rows, q.cols);
    attend_to(rows, k, v, pool_, attended);

    LayerFidelity& out = result_.layers.emplace_back();
    out.layer = layer;
    out.layout = layouts_[index];
    out.n_blocks = static_cast<std::int64_t>(blocks_[index].size());
    out.spectrum_k = measure_spectra(k, shape_.head_dim, blocks_[index], pool_);
    out.spectrum_v = measure_spectra(v, shape_.head_dim, blocks_[index], pool_);
    count();
    out.types = measure_codec(rows, options_.type_k, options_.type_v, calibration_, attended, pool_);
    measure_gain(rows, attended, out.types);
    count();
    for (const std::string& name : result_.all_codecs) {
      const std::string spec = with_layout(name, out.layout);
      out.all.push_back(measure_codec(rows, spec, spec, calibration_, attended, pool_));
      count();
    }
  }

  // What the metric of each head's keys does for the error of logits.
  void measure_gain(const LayerRows& rows, ConstMatrix attended, CodecFidelity& types) {
    const std::string text = build_codec(types.codec_k, shape_.head_dim).without_metric;
    if (calibration_ == nullptr || text.empty()) return;
    const CodecFidelity without = measure_codec(rows, text, options_.type_v, calibration_, attended, pool_);
    for (std::size_t h = 0; h < types.k.size(); ++h)
      if (types.k[h].ip_error > 0) types.k[h].metric_gain = without.k[h].ip_error / types.k[h].ip_error;
  }

  // The codec with blocks, sinks and window of the measured types; exact ones have none.
  std::string with_layout(const std::string& name, const CacheLayout& layout) const {
    if (!build_codec(name, shape_.head_dim).lossy) return name;
    return concat(name, ",block=", layout.block, ",sink=", layout.sink, ",window=", layout.window);
  }

  Engine& engine_;
  std::span<const Token> tokens_;
  FidelityOptions options_;
  const FidelityHooks& hooks_;
  ThreadPool pool_;
  CacheShape shape_;
  std::shared_ptr<const Calibration> calibration_;
  std::vector<CacheLayout> layouts_;             // of each measured layer
  std::vector<std::vector<BlockRange>> blocks_;  // of each measured layer
  const KvCache* exact_ = nullptr;
  Buffer<float> k_, v_;         // of one layer, [n_ctx, n_kv_heads * head_dim]
  Buffer<float> q_, attended_;  // of one layer, [n_queries, n_heads * head_dim]
  FidelityResult result_;
  std::int64_t done_ = 0;
};

}  // namespace

FidelityResult measure_fidelity(Engine& engine, std::span<const Token> tokens, const FidelityOptions& options,
                                const FidelityHooks& hooks) {
  return FidelityRun(engine, tokens, options, hooks).run();
}

}  // namespace spectralkv
