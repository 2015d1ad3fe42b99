// RMS norm, attention with RoPE, SwiGLU; x stays in the residual stream.
#include "model/decoder.h"

#include <algorithm>
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

  void forward(Backend& backend, Scratch& scratch, Step step) const override {
    std::vector<std::int32_t> tokens;
    for (const StepPart& part : step) tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
    const std::int64_t n = std::ssize(tokens);
    write_cos_sin(backend, step, scratch.cos_sin.rows(n));
    backend.embed(weights_.embedding, tokens, scratch.x.rows(n));
    backend.pass(&scratch, step, [&] { layers(backend, scratch, step, n); });
  }

 private:
  // From the n embedded tokens in scratch.x to the logits.
  void layers(Backend& backend, Scratch& scratch, Step step, std::int64_t n) const {
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
      backend.attend(step, l, attention_shape(l), q, k, v, attended);
      matmul({linear(w.o, attended, normed)});

      backend.add_rms_norm(x, normed, w.ffn_norm, eps, normed);
      matmul({linear(w.gate, normed, gate), linear(w.up, normed, up)});
      backend.silu_mul(gate, up);
      matmul({linear(w.down, gate, normed)});
      backend.add_rms_norm(x, normed, norm_before(l + 1), eps, normed);
    }
    const ConstMatrix wanted = wanted_rows(backend, step, normed, x);
    if (wanted.rows > 0) matmul({linear(weights_.head, wanted, scratch.logits.rows(wanted.rows))});
  }

  // The rows of a step that get logits. Where they do not follow each other they are brought together in
  // `memory`, of the same size.
  static ConstMatrix wanted_rows(Backend& backend, Step step, ConstMatrix rows, Matrix memory) {
    const bool all =
        std::all_of(step.begin(), step.end(), [](const StepPart& p) { return p.n_logits == p.n(); });
    if (all) return rows;
    if (step.size() == 1) return rows.rows_range(rows.rows - step[0].n_logits, step[0].n_logits);
    std::int64_t end = 0, n = 0;
    for (const StepPart& part : step) {
      end += part.n();
      if (part.n_logits == 0) continue;
      backend.copy(rows.rows_range(end - part.n_logits, part.n_logits), memory.rows_range(n, part.n_logits));
      n += part.n_logits;
    }
    return memory.rows_range(0, n);
  }

  void write_cos_sin(Backend& backend, Step step, Matrix cos_sin) const {
    std::vector<float> host(static_cast<std::size_t>(cos_sin.rows * cos_sin.cols));
    Matrix rest(host.data(), cos_sin.rows, cos_sin.cols);
    for (const StepPart& part : step) {
      rope_.fill(part.cache->n_tokens(), rest.rows_range(0, part.n()));
      rest = rest.rows_range(part.n(), rest.rows - part.n());
    }
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
