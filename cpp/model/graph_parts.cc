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
  return {config.n_heads, 1.0f / std::sqrt(static_cast<float>(config.head_dim)),
          slides ? config.sliding_window : 0};
}

// What a step says must fit: caches and scratch know no bounds of their own. Nothing has changed yet.
void check_step(Step step, const Scratch& scratch) {
  std::int64_t n = 0, n_logits = 0;
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
    n += part.n();
    n_logits += part.n_logits;
  }
  check(n >= 1 && n <= scratch.x.most_rows() && n_logits <= scratch.logits.most_rows(), "model", "a step of ",
        n, " tokens and ", n_logits, " rows of logits, where the scratch is for 1 to ", scratch.x.most_rows(),
        " and up to ", scratch.logits.most_rows());
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

void begin_step(Backend& backend, Scratch& scratch, Step step, const Rope& rope,
                const WeightView& embedding) {
  check_step(step, scratch);
  std::vector<std::int32_t> tokens;
  for (const StepPart& part : step) tokens.insert(tokens.end(), part.tokens.begin(), part.tokens.end());
  const std::int64_t n = std::ssize(tokens);
  const Matrix cos_sin = scratch.cos_sin.rows(n);
  std::vector<float> host(static_cast<std::size_t>(n * cos_sin.cols));
  Matrix rest(host.data(), n, cos_sin.cols);
  for (const StepPart& part : step) {
    rope.fill(part.cache->n_tokens(), rest.rows_range(0, part.n()));
    rest = rest.rows_range(part.n(), rest.rows - part.n());
  }
  backend.write(host, cos_sin.data);
  backend.embed(embedding, tokens, scratch.x.rows(n));
}

void attention(Backend& backend, Scratch& scratch, Step step, std::int64_t n, const ModelConfig& config,
               std::int64_t layer, const LayerWeights& w) {
  const Matrix normed = scratch.normed.rows(n), attended = scratch.attended.rows(n);
  const Matrix q = scratch.q.rows(n), k = scratch.k.rows(n), v = scratch.v.rows(n);
  matmul(backend, {product(w.q, normed, q), product(w.k, normed, k), product(w.v, normed, v)});
  backend.rope(q, k, config.head_dim, scratch.cos_sin.rows(n));
  backend.attend(step, layer, attention_shape(config, layer), q, k, v, attended);
  matmul(backend, {product(w.o, attended, normed)});
}

void gated_feed_forward(Backend& backend, Scratch& scratch, std::int64_t n, const LayerWeights& w) {
  const Matrix normed = scratch.normed.rows(n), gate = scratch.gate.rows(n), up = scratch.up.rows(n);
  matmul(backend, {product(w.gate, normed, gate), product(w.up, normed, up)});
  backend.silu_mul(gate, up);
  matmul(backend, {product(w.down, gate, normed)});
}

void head(Backend& backend, Scratch& scratch, Step step, std::int64_t n, const Linear& w) {
  const ConstMatrix wanted = wanted_rows(backend, step, scratch.normed.rows(n), scratch.x.rows(n));
  if (wanted.rows > 0) matmul(backend, {product(w, wanted, scratch.logits.rows(wanted.rows))});
}

}  // namespace spectralkv
