// The weights of a decoder as checked views, in the backend's memory.
#pragma once

#include <vector>

#include "backend/backend.h"
#include "base/buffer.h"
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
  // What views of turned rows point into, where the backend computes with the host's memory.
  std::vector<Buffer<std::byte>> turned;
};

// Which rows of a head of q and k the file has for RoPE to turn together: 2i and 2i + 1 as our kernels take
// them, or i and i + rope dims / 2, which become pairs on their way to the backend.
enum class RopeRows : std::uint8_t { pairs, halves };
enum class QkvBias : std::uint8_t { optional, required };

struct WeightLayout {
  RopeRows rope_rows = RopeRows::pairs;
  QkvBias qkv_bias = QkvBias::optional;
};

// Every tensor is looked up by name and its shape checked once; errors name the tensor.
Weights load_weights(const Gguf& file, const ModelConfig& config, Backend& backend,
                     const WeightLayout& layout);

}  // namespace spectralkv
