// Parts that graphs are made of.
#include "model/graph_parts.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "base/error.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

MatmulJob product(const Linear& w, ConstMatrix in, Matrix out) {
  return {&w.w, w.bias, in, out};
}

void matmul(Backend& backend, std::initializer_list<MatmulJob> jobs) {
  backend.matmul({jobs.begin(), jobs.size()});
}

AttentionShape attention_shape(const ModelConfig& config, std::int64_t layer) {
  const bool slides = config.layer_slides[static_cast<std::size_t>(layer)];
  const float scale = config.attention_scale != 0 ? static_cast<float>(config.attention_scale)
                                                  : 1.0f / std::sqrt(static_cast<float>(config.head_dim));
  return {config.n_heads, scale, slides ? config.sliding_window : 0};
}

// What a step says must fit: caches and scratch know no bounds of their own. Nothing has changed yet.
void check_step(const Pass& pass) {
  const Step step = pass.step;
  const Scratch& scratch = pass.scratch;
  for (std::size_t p = 0; p < step.size(); ++p) {
    const StepPart& part = step[p];
    check(part.n() >= 1, "model", "part ", p, " of a step has no tokens");
    check(part.n_logits >= 0 && part.n_logits <= part.n(), "model", "part ", p, " of a step has ", part.n(),
          " tokens, and logits of ", part.n_logits, " were asked for");
    check(part.cache->n_tokens() + part.n() <= part.cache->n_ctx(), "model", "part ", p,
          " of a step: ", part.n(), " tokens behind ", part.cache->n_tokens(),
          " do not fit into a context of ", part.cache->n_ctx());
    for (std::size_t other = 0; other < p; ++other)
      check(step[other].cache != part.cache, "model", "parts ", other, " and ", p,
            " of a step are of one cache");
  }
  check(pass.n >= 1 && pass.n <= scratch.x.most_rows() && pass.n_logits <= scratch.logits.most_rows(),
        "model", "a step of ", pass.n, " tokens and ", pass.n_logits,
        " rows of logits, where the scratch is for 1 to ", scratch.x.most_rows(), " and up to ",
        scratch.logits.most_rows());
}

// The rows of a step that get logits. Where they do not follow each other they are brought together in
// `memory`, of the same size.
ConstMatrix wanted_rows(Backend& backend, Step step, ConstMatrix rows, Matrix memory) {
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

}  // namespace

Rope make_rope(const RopeConfig& config, const std::vector<float>& factors) {
  Rope rope(config.dims, config.freq_base);
  if (!factors.empty()) rope.divide(factors);
  if (config.scaling == RopeScaling::linear) rope.scale_linear(config.factor);
  if (config.scaling == RopeScaling::yarn)
    rope.scale_yarn(config.factor, static_cast<double>(config.original_context), config.beta_fast,
                    config.beta_slow, config.ext_factor, config.attn_factor);
  return rope;
}

void begin_step(const Pass& pass, const Rope& rope, const WeightView& embedding) {
  check_step(pass);
  std::vector<std::int32_t> tokens;
  for (const StepPart& part : pass.step) tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  const Matrix cos_sin = pass.scratch.cos_sin.rows(pass.n);
  std::vector<float> host(static_cast<std::size_t>(pass.n * cos_sin.cols));
  Matrix rest(host.data(), pass.n, cos_sin.cols);
  for (const StepPart& part : pass.step) {
    rope.fill(part.cache->n_tokens(), rest.rows_range(0, part.n()));
    rest = rest.rows_range(part.n(), rest.rows - part.n());
  }
  pass.backend.write(host, cos_sin.data);
  pass.backend.embed(embedding, tokens, pass.scratch.x.rows(pass.n));
}

void project(const Pass& pass, const LayerWeights& w) {
  const Scratch& s = pass.scratch;
  const Matrix normed = s.normed.rows(pass.n);
  matmul(pass.backend, {product(w.q, normed, s.q.rows(pass.n)), product(w.k, normed, s.k.rows(pass.n)),
                        product(w.v, normed, s.v.rows(pass.n))});
}

void rope(const Pass& pass, const ModelConfig& config) {
  const Scratch& s = pass.scratch;
  pass.backend.rope(s.q.rows(pass.n), s.k.rows(pass.n), config.head_dim, s.cos_sin.rows(pass.n));
}

void attend(const Pass& pass, const ModelConfig& config, std::int64_t layer, const LayerWeights& w) {
  const Scratch& s = pass.scratch;
  const Matrix attended = s.attended.rows(pass.n);
  pass.backend.attend(pass.step, layer, attention_shape(config, layer), s.q.rows(pass.n), s.k.rows(pass.n),
                      s.v.rows(pass.n), attended);
  matmul(pass.backend, {product(w.o, attended, s.normed.rows(pass.n))});
}

void gated_feed_forward(const Pass& pass, const LayerWeights& w) {
  const Scratch& s = pass.scratch;
  const Matrix normed = s.normed.rows(pass.n), gate = s.gate.rows(pass.n), up = s.up.rows(pass.n);
  matmul(pass.backend, {product(w.gate, normed, gate), product(w.up, normed, up)});
  pass.backend.silu_mul(gate, up);
  matmul(pass.backend, {product(w.down, gate, normed)});
}

void expert_feed_forward(const Pass& pass, const ModelConfig& config, const LayerWeights& w) {
  const Scratch& s = pass.scratch;
  const Matrix normed = s.normed.rows(pass.n), router = s.router.rows(pass.n);
  matmul(pass.backend, {product(w.router, normed, router)});
  const std::int64_t rows = pass.n * config.n_experts_used;
  pass.backend.experts({router, config.n_experts_used, w.gate_experts, w.up_experts, w.down_experts, normed,
                        s.gate.rows(rows), s.up.rows(rows), s.expert_rows.rows(rows), normed});
}

void head(const Pass& pass, const Linear& w) {
  const Scratch& s = pass.scratch;
  const ConstMatrix wanted = wanted_rows(pass.backend, pass.step, s.normed.rows(pass.n), s.x.rows(pass.n));
  if (wanted.rows > 0) matmul(pass.backend, {product(w, wanted, s.logits.rows(wanted.rows))});
}

}  // namespace spectralkv
