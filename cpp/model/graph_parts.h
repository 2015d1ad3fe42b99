// Parts that graphs are made of: each reads and writes activations of a step's n rows in the scratch.
#pragma once

#include <vector>

#include "linalg/rope.h"
#include "model/scratch.h"
#include "model/weights.h"

namespace spectralkv {

// A forward pass: whom it asks, what it works in, and how many rows its step and its logits have.
struct Pass {
  Backend& backend;
  Scratch& scratch;
  Step step;
  std::int64_t n, n_logits;
};

Rope make_rope(const RopeConfig& config, const std::vector<float>& factors);

// Angles of the step's positions, into cos_sin; and its tokens' rows of the embedding, into x. A value error,
// with nothing changed, for a step that its caches or the scratch have no room for.
void begin_step(const Pass& pass, const Rope& rope, const WeightView& embedding);
// From normed to q, k and v.
void project(const Pass& pass, const LayerWeights& w);
// Of q and k, over the step's angles.
void rope(const Pass& pass, const ModelConfig& config);
// From q, k and v to normed: attention over the layer's cache, output.
void attend(const Pass& pass, const ModelConfig& config, std::int64_t layer, const LayerWeights& w);
// From normed to normed: down(silu(gate) * up).
void gated_feed_forward(const Pass& pass, const LayerWeights& w);
// From normed to normed, by the experts that the router chooses for each row.
void expert_feed_forward(const Pass& pass, const ModelConfig& config, const LayerWeights& w);
// From normed to logits, of the rows that want some; x goes.
void head(const Pass& pass, const Linear& w);

}  // namespace spectralkv
