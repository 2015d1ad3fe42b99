// The weights of a llama model as checked views, in the backend's memory.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "gguf/gguf.h"
#include "model/config.h"

namespace spectralkv {

// y = w x + bias.
struct Linear {
  WeightView w;
  const float* bias = nullptr;  // [w.rows] or null
};

struct LayerWeights {
  const float *attn_norm = nullptr, *ffn_norm = nullptr;  // [n_embd]
  Linear q, k, v, o;      // [heads * head_dim, n_embd], ..., [n_embd, heads * head_dim]
  Linear gate, up, down;  // [n_ff, n_embd] twice, [n_embd, n_ff]
};

struct Weights {
  WeightView embedding;  // [n_vocab, n_embd]
  std::vector<LayerWeights> layers;
  const float* norm = nullptr;      // [n_embd]
  Linear head;                      // [n_vocab, n_embd]; the embedding where the file has no output.weight
  std::vector<float> rope_factors;  // [rope dims / 2] or empty
};

// Every tensor is looked up by name and its shape checked once; errors name the tensor.
Weights load_llama_weights(const Gguf& file, const ModelConfig& config, Backend& backend);

}  // namespace spectralkv
