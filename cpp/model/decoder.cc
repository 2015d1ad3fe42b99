// Norm, attention, norm, gated feed-forward; x stays in the residual stream.
#include "model/decoder.h"

#include <utility>

#include "model/graph_parts.h"

namespace spectralkv {
namespace {

class Decoder final : public Model {
 public:
  Decoder(const ModelConfig& config, Weights weights)
      : config_(config), weights_(std::move(weights)), rope_(make_rope(config.rope, weights_.rope_factors)) {}

  void forward(Backend& backend, Scratch& scratch, Step step) const override {
    std::int64_t n = 0;
    for (const StepPart& part : step) n += part.n();
    begin_step(backend, scratch, step, rope_, weights_.embedding);
    backend.pass(&scratch, step, [&] { layers(backend, scratch, step, n); });
  }

 private:
  void layers(Backend& backend, Scratch& scratch, Step step, std::int64_t n) const {
    const auto eps = static_cast<float>(config_.rms_eps);
    const Matrix x = scratch.x.rows(n), normed = scratch.normed.rows(n);
    const auto norm_before = [&](std::int64_t l) {  // behind the last layer stands the head
      return l < config_.n_layers ? weights_.layers[static_cast<std::size_t>(l)].attn_norm : weights_.norm;
    };
    backend.rms_norm(x, norm_before(0), eps, normed);
    for (std::int64_t l = 0; l < config_.n_layers; ++l) {
      const LayerWeights& w = weights_.layers[static_cast<std::size_t>(l)];
      attention(backend, scratch, step, n, config_, l, w);
      backend.add_rms_norm(x, normed, w.ffn_norm, eps, normed);
      gated_feed_forward(backend, scratch, n, w);
      backend.add_rms_norm(x, normed, norm_before(l + 1), eps, normed);
    }
    head(backend, scratch, step, n, weights_.head);
  }

  ModelConfig config_;
  Weights weights_;
  Rope rope_;
};

}  // namespace

std::unique_ptr<Model> make_decoder(const ModelConfig& config, Weights weights) {
  return std::make_unique<Decoder>(config, std::move(weights));
}

}  // namespace spectralkv
