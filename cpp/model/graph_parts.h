// Parts that graphs are made of: each reads and writes activations of a step's n rows in the scratch.
#pragma once

#include <vector>

#include "linalg/rope.h"
#include "model/scratch.h"
#include "model/weights.h"

namespace spectralkv {

Rope make_rope(const RopeConfig& config, const std::vector<float>& factors);

// Angles of the step's positions, into cos_sin; and its tokens' rows of the embedding, into x. A value error,
// with nothing changed, for a step that its caches or the scratch have no room for.
void begin_step(Backend& backend, Scratch& scratch, Step step, const Rope& rope, const WeightView& embedding);
// From normed to normed: q, k, v, RoPE, attention over the layer's cache, output.
void attention(Backend& backend, Scratch& scratch, Step step, std::int64_t n, const ModelConfig& config,
               std::int64_t layer, const LayerWeights& w);
// From normed to normed: down(silu(gate) * up).
void gated_feed_forward(Backend& backend, Scratch& scratch, std::int64_t n, const LayerWeights& w);
// From normed to logits, of the rows that want some; x goes.
void head(Backend& backend, Scratch& scratch, Step step, std::int64_t n, const Linear& w);

}  // namespace spectralkv
