// RMS norm, attention with RoPE, SwiGLU; x stays in the residual stream.
#include "model/decoder.h"

#include <cmath>
#include <utility>
#include <vector>

#include "linalg/rope.h"

namespace spectralkv {
namespace {

Rope make_rope(const RopeConfig& config, const std::vector<float>& factors) {
  Rope rope(config.dims, config.freq_base);
  if (!factors.empty()) rope.divide(factors);
  if (config.scaling == RopeScaling::linear) rope.scale_linear(config.factor);
  if (config.scaling == RopeScaling::yarn)
    rope.scale_yarn(config.factor, static_cast<double>(config.original_context), config.beta_fast,
                    config.beta_slow, config.ext_factor, config.attn_factor);
  return rope;
}

class Decoder final : public Model {
 public:
  Decoder(const ModelConfig& config, Weights weights)
      : config_(config), weights_(std::move(weights)), rope_(make_rope(config.rope, weights_.rope_factors)) {}

  void forward(Backend& backend, Scratch& scratch, KvCache& cache, std::span<const std::int32_t> tokens,
               std::int64_t n_logits) const override {
    const auto n = static_cast<std::int64_t>(tokens.size());
    write_cos_sin(backend, cache.n_tokens(), scratch.cos_sin.rows(n));
    backend.embed(weights_.embedding, tokens, scratch.x.rows(n));
    backend.pass({&scratch, &cache, n, n_logits}, [&] { layers(backend, scratch, cache, n, n_logits); });
    cache.commit(n);
  }

 private:
  // From the embedded tokens in scratch.x to the logits.
  void layers(Backend& backend, Scratch& scratch, KvCache& cache, std::int64_t n,
              std::int64_t n_logits) const {
    const auto eps = static_cast<float>(config_.rms_eps);
    const Matrix x = scratch.x.rows(n), normed = scratch.normed.rows(n), attended = scratch.attended.rows(n);
    const Matrix q = scratch.q.rows(n), k = scratch.k.rows(n), v = scratch.v.rows(n);
    const Matrix gate = scratch.gate.rows(n), up = scratch.up.rows(n), cos_sin = scratch.cos_sin.rows(n);
    const auto linear = [](const Linear& l, ConstMatrix in, Matrix out) {
      return MatmulJob{&l.w, l.bias, in, out};
    };
    const auto matmul = [&](std::initializer_list<MatmulJob> jobs) {
      backend.matmul({jobs.begin(), jobs.size()});
    };
    const auto norm_before = [&](std::int64_t l) {  // behind the last layer stands the head
      return l < config_.n_layers ? weights_.layers[static_cast<std::size_t>(l)].attn_norm : weights_.norm;
    };

    backend.rms_norm(x, norm_before(0), eps, normed);
    for (std::int64_t l = 0; l < config_.n_layers; ++l) {
      const LayerWeights& w = weights_.layers[static_cast<std::size_t>(l)];
      matmul({linear(w.q, normed, q), linear(w.k, normed, k), linear(w.v, normed, v)});
      backend.rope(q, k, config_.head_dim, cos_sin);
      backend.attend(cache, l, attention_shape(l), q, k, v, attended);
      matmul({linear(w.o, attended, normed)});

      backend.add_rms_norm(x, normed, w.ffn_norm, eps, normed);
      matmul({linear(w.gate, normed, gate), linear(w.up, normed, up)});
      backend.silu_mul(gate, up);
      matmul({linear(w.down, gate, normed)});
      backend.add_rms_norm(x, normed, norm_before(l + 1), eps, normed);
    }
    if (n_logits == 0) return;
    matmul({linear(weights_.head, normed.rows_range(n - n_logits, n_logits), scratch.logits.rows(n_logits))});
  }

  void write_cos_sin(Backend& backend, std::int64_t pos0, Matrix cos_sin) const {
    std::vector<float> host(static_cast<std::size_t>(cos_sin.rows * cos_sin.cols));
    rope_.fill(pos0, Matrix(host.data(), cos_sin.rows, cos_sin.cols));
    backend.write(host, cos_sin.data);
  }

  AttentionShape attention_shape(std::int64_t layer) const {
    const bool slides = config_.layer_slides[static_cast<std::size_t>(layer)];
    return {config_.n_heads, 1.0f / std::sqrt(static_cast<float>(config_.head_dim)),
            slides ? config_.sliding_window : 0};
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
