// Reads a text, adds up the second moments of queries on the way, and stops at each layer of the last batch
// to measure its heads.
#include "engine/calibrate.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backend/forwarding.h"
#include "base/error.h"
#include "engine/fingerprint.h"
#include "engine/head_measure.h"
#include "model/model.h"
#include "simd/dispatch.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kQueries = 256;  // the last tokens: theirs are the queries that say what errors do
constexpr std::int64_t kBatch = 512;

class Run final : public ForwardingBackend {
 public:
  Run(Engine& engine, std::span<const Token> tokens, const CalibrateHooks& hooks)
      : ForwardingBackend(engine.backend()),
        engine_(engine),
        config_(engine.config()),
        tokens_(tokens.first(std::min(tokens.size(), static_cast<std::size_t>(kCalibrationTokens)))),
        hooks_(hooks),
        pool_(0) {
    const auto n = std::ssize(tokens_);
    check(n >= kLeastCalibration, "engine", "calibrate: the text has ", n, " tokens, it takes at least ",
          kLeastCalibration);
    check(n <= config_.context_length, "engine", "calibrate: ", n,
          " tokens are more than the model's context of ", config_.context_length);
    for (const Token token : tokens_)
      check(token >= 0 && token < config_.n_vocab, "engine", "calibrate: token ", token,
            " is not within the vocabulary of ", config_.n_vocab);
    layers_.resize(static_cast<std::size_t>(config_.n_layers));
    heads_.reserve(static_cast<std::size_t>(config_.n_layers * config_.n_kv_heads));
  }

  Calibration run() {
    const auto cache = ForwardingBackend::make_cache(
        std::make_shared<const CacheFormat>(config_.cache_shape(), "f32", "f32"), std::ssize(tokens_));
    exact_ = cache.get();
    Scratch scratch(*this, config_, kBatch, 1);
    const std::int64_t n_context = std::ssize(tokens_) - kQueries;
    for (std::int64_t at = 0; at < std::ssize(tokens_);) {
      if (hooks_.cancelled && hooks_.cancelled())
        fail(ErrorKind::interrupted, "engine", "calibrate: interrupted");
      last_ = at == n_context;
      const std::int64_t n = last_ ? kQueries : std::min(kBatch, n_context - at);
      const StepPart part{cache.get(),
                          tokens_.subspan(static_cast<std::size_t>(at), static_cast<std::size_t>(n)), 0};
      engine_.model().forward(*this, scratch, {&part, 1});
      ForwardingBackend::finish();
      at += n;
      if (hooks_.progress) hooks_.progress("tokens", at, std::ssize(tokens_));
    }
    for (std::size_t l = 0; l < layers_.size(); ++l)
      for (std::int64_t h = 0; h < config_.n_kv_heads; ++h)
        for (float& harm :
             heads_[l * static_cast<std::size_t>(config_.n_kv_heads) + static_cast<std::size_t>(h)].harm)
          harm /= static_cast<float>(std::max(std::sqrt(layers_[l].stream), 1e-30));
    return Calibration(config_.cache_shape(), config_.group(), model_fingerprint(engine_.file(), config_),
                       kCalibrationMethod, std::move(heads_));
  }

  void rope(Matrix q, Matrix k, std::int64_t head_dim, ConstMatrix cos_sin) override {
    ForwardingBackend::rope(q, k, head_dim, cos_sin);
    if (cos_sin.rows < 2) return;
    // How far a position turns each pair.
    std::vector<float> rows(static_cast<std::size_t>(2 * cos_sin.cols));
    for (std::int64_t r = 0; r < 2; ++r)
      read(cos_sin.row(r), std::span(rows).subspan(static_cast<std::size_t>(r * cos_sin.cols),
                                                   static_cast<std::size_t>(cos_sin.cols)));
    turned_.assign(static_cast<std::size_t>(config_.head_dim / 2), 0);
    for (std::size_t p = 0; p < static_cast<std::size_t>(cos_sin.cols / 2); ++p) {
      const std::size_t second = static_cast<std::size_t>(cos_sin.cols) + 2 * p;
      const double from = std::atan2(rows[2 * p + 1], rows[2 * p]),
                   to = std::atan2(rows[second + 1], rows[second]);
      turned_[p] = std::remainder(to - from, 2 * M_PI);
    }
  }

  void attend(Step step, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
              ConstMatrix v, Matrix out) override {
    LayerSums& sums = layers_[static_cast<std::size_t>(layer)];
    // A layer that turns nothing has seen no `rope`.
    sums.angles = std::exchange(turned_, {});
    sums.angles.resize(static_cast<std::size_t>(config_.head_dim / 2));
    const Matrix queries = fetch(q, q_);
    add_moments(sums, shape, queries);
    if (last_) measure(layer, shape, queries, k, v);
    current_ = layer;
    ForwardingBackend::attend(step, layer, shape, q, k, v, out);
  }

  void add_rms_norm(Matrix x, ConstMatrix y, const float* gain, float eps, Matrix out) override {
    ForwardingBackend::add_rms_norm(x, y, gain, eps, out);
    if (!last_ || current_ < 0) return;
    // The stream behind the attention of `current_`.
    double sum = 0;
    const Matrix stream = fetch(x, stream_);
    for (std::int64_t t = 0; t < stream.rows; ++t)
      for (std::int64_t c = 0; c < stream.cols; ++c)
        sum += static_cast<double>(stream(t, c)) * static_cast<double>(stream(t, c));
    layers_[static_cast<std::size_t>(std::exchange(current_, -1))].stream = sum;
  }

 private:
  struct LayerSums {
    HeadSums heads;
    std::vector<double> angles;  // [head_dim / 2], of a position
    double stream = 0;           // squares of the residual stream
  };

  // Rows out of the backend's memory into a buffer of their own.
  Matrix fetch(ConstMatrix rows, Buffer<float>& memory) {
    const auto size = static_cast<std::size_t>(rows.rows * rows.cols);
    if (memory.size() < size) memory = Buffer<float>(size);
    read(rows.data, memory.span().first(size));
    return {memory.data(), rows.rows, rows.cols};
  }

  void add_moments(LayerSums& sums, const AttentionShape& shape, ConstMatrix q) {
    const std::int64_t heads = config_.n_kv_heads, d = config_.head_dim, group = config_.group();
    if (sums.heads.moments.empty()) sums.heads = HeadSums(heads, group, d);
    pool_.for_each(heads, [&](std::int64_t h, int) {
      sums.heads.add(h, q.cols_range(h * group * d, group * d), static_cast<double>(shape.scale));
    });
  }

  void measure(std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k, ConstMatrix v) {
    const std::int64_t n = std::ssize(tokens_), width = k.cols;
    if (k_.empty()) k_ = Buffer<float>(static_cast<std::size_t>(n * width));
    if (v_.empty()) v_ = Buffer<float>(static_cast<std::size_t>(n * width));
    const Matrix keys(k_.data(), n, width), values(v_.data(), n, width);
    const std::int64_t before = n - k.rows;
    exact_->read(layer, 0, keys.rows_range(0, before), values.rows_range(0, before));
    read(k.data, std::span(k_.data(), k_.size()).subspan(static_cast<std::size_t>(before * width)));
    read(v.data, std::span(v_.data(), v_.size()).subspan(static_cast<std::size_t>(before * width)));
    LayerSums& sums = layers_[static_cast<std::size_t>(layer)];
    const LayerRows rows{layer, config_.cache_shape(), shape, keys, values, q};
    const WeightView output = engine_.file().weight(concat("blk.", layer, ".attn_output.weight"));
    for (HeadCalibration& head : measure_heads(rows, sums.heads, sums.angles, output, pool_))
      heads_.push_back(std::move(head));
    sums.heads = {};
    if (hooks_.progress) hooks_.progress("layers", layer + 1, config_.n_layers);
  }

  Engine& engine_;
  const ModelConfig& config_;
  std::span<const Token> tokens_;
  const CalibrateHooks& hooks_;
  ThreadPool pool_;
  std::vector<LayerSums> layers_;
  std::vector<HeadCalibration> heads_;
  std::vector<double> turned_;
  const KvCache* exact_ = nullptr;
  Buffer<float> k_, v_, q_, stream_;
  std::int64_t current_ = -1;
  bool last_ = false;
};

}  // namespace

Calibration calibrate(Engine& engine, std::span<const Token> tokens, const CalibrateHooks& hooks) {
  return Run(engine, tokens, hooks).run();
}

}  // namespace spectralkv
