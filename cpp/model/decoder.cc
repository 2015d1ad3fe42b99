// Which part follows which.
#include "model/decoder.h"

namespace spectralkv {

Decoder::Decoder(const ModelConfig& config, Weights weights)
    : config_(config), weights_(std::move(weights)), rope_(make_rope(config.rope, weights_.rope_factors)) {}

void Decoder::forward(Backend& backend, Scratch& scratch, Step step) const {
  const auto [n, n_logits] = rows_of(step);
  const Pass pass{backend, scratch, step, n, n_logits};
  begin(pass);
  backend.pass(&scratch, step, [&] { layers(pass); });
}

void Decoder::begin(const Pass& pass) const {
  begin_step(pass, rope_, weights_.embedding);
}

void Decoder::turn(const Pass& pass, std::int64_t) const {
  rope(pass, config_);
}

void Decoder::feed_forward(const Pass& pass, std::int64_t l) const {
  gated_feed_forward(pass, layer(l));
}

void Decoder::leave(const Pass&) const {}

void Decoder::finish(const Pass& pass) const {
  head(pass, weights_.head);
}

void Decoder::layers(const Pass& pass) const {
  const auto eps = static_cast<float>(config_.rms_eps);
  const Matrix x = pass.scratch.x.rows(pass.n), normed = pass.scratch.normed.rows(pass.n);
  const auto norm_before = [&](std::int64_t l) {  // behind the last layer stands the head
    return l < config_.n_layers ? layer(l).attn_norm : weights_.norm;
  };
  pass.backend.rms_norm(x, norm_before(0), eps, normed);
  for (std::int64_t l = 0; l < config_.n_layers; ++l) {
    project(pass, layer(l));
    turn(pass, l);
    attend(pass, config_, l, layer(l));
    leave(pass);
    pass.backend.add_rms_norm(x, normed, layer(l).ffn_norm, eps, normed);
    feed_forward(pass, l);
    leave(pass);
    pass.backend.add_rms_norm(x, normed, norm_before(l + 1), eps, normed);
  }
  finish(pass);
}

}  // namespace spectralkv
