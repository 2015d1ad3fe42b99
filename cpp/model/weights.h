// The weights of a decoder as checked views, in the backend's memory.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.h"
#include "base/buffer.h"
#include "gguf/gguf.h"
#include "model/config.h"
#include "tensor/shape_check.h"

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
  const float *q_norm = nullptr, *k_norm = nullptr;  // [head_dim], where an architecture has them
  // In place of gate, up and down in a mixture of experts.
  Linear router;                                                   // [n_experts, n_embd]
  std::vector<WeightView> gate_experts, up_experts, down_experts;  // [n_experts], of their shapes
};

struct Weights {
  WeightView embedding;  // [n_vocab, n_embd]
  std::vector<LayerWeights> layers;
  const float* norm = nullptr;      // [n_embd]
  Linear head;                      // [n_vocab, n_embd]; the embedding where the file has no output.weight
  std::vector<float> rope_factors;  // [rope dims / 2] or empty
  std::vector<Buffer<std::byte>> turned;  // WeightLoader::take_turned
};

// Looks tensors up by name, checks their shapes and brings them to the backend; errors name the tensor. A
// name stands without ".weight". A shape is [rows, cols] in letters: v n_vocab, e n_embd, q n_heads *
// head_dim, k n_kv_heads * head_dim, d head_dim, f n_ff, x n_experts.
class WeightLoader {
 public:
  // All three must outlive the loader.
  WeightLoader(const Gguf& file, const ModelConfig& config, Backend& backend);

  WeightView matrix(const std::string& name, std::string_view shape,
                    Backend::Use use = Backend::Use::matmul) const;
  const float* vector(const std::string& name, std::string_view shape) const;
  // With name.bias where the file has it.
  Linear linear(const std::string& name, std::string_view shape) const;
  // The same for q or k of a file where RoPE turns rows i and i + rope dims / 2 of a head together: they
  // become rows 2i and 2i + 1 on their way, as our kernels take them.
  Linear linear_of_halves(const std::string& name, std::string_view shape);
  // A vector whose values go with such rows.
  const float* vector_of_halves(const std::string& name, std::string_view shape) const;
  // Of all experts: the matrices of name_exps, or, as older files have them, name.0, name.1 and so on.
  std::vector<WeightView> experts(const std::string& name, std::string_view shape) const;
  // An error where the file has no tensor of this full name.
  void require(const std::string& tensor) const;
  bool has(const std::string& tensor) const { return file_.find_tensor(tensor) != nullptr; }

  // An error where the file has a tensor that nothing has asked for: what it means to the model is not known.
  void refuse_others() const;

  // What views of turned rows point into, where the backend computes with the host's memory.
  std::vector<Buffer<std::byte>> take_turned() { return std::move(turned_); }

 private:
  WeightView uploaded(const WeightView& w, Backend::Use use) const;
  WeightView find(const std::string& tensor, std::string_view shape) const;
  // f32 values of a vector with its halves turned.
  const float* turned_vector(const std::string& tensor, std::string_view shape) const;

  const Gguf& file_;
  const ModelConfig& config_;
  Backend& backend_;
  ShapeCheck shape_;
  std::vector<Buffer<std::byte>> turned_;
  mutable std::set<std::string, std::less<>> known_;  // tensors that were asked for
};

// Which rows of a head of q and k the file has for RoPE to turn together (WeightLoader::linear_of_halves).
enum class RopeRows : std::uint8_t { pairs, halves };

// The norm before attention and its four matrices.
void load_attention(WeightLoader& from, const std::string& prefix, RopeRows rows, LayerWeights& layer);
// The norm before the feed-forward and its three matrices.
void load_gated_feed_forward(const WeightLoader& from, const std::string& prefix, LayerWeights& layer);

// A layer of these two, as Llama's files have it.
LayerWeights load_llama_layer(WeightLoader& from, const std::string& prefix);

// The norm before a mixture of experts, its router and the experts' matrices.
void load_experts(const WeightLoader& from, const std::string& prefix, LayerWeights& layer);

// Embedding, head and RoPE factors, and each layer by load_layer; prefix: "blk.0.".
Weights load_weights(const Gguf& file, const ModelConfig& config, Backend& backend,
                     LayerWeights (*load_layer)(WeightLoader&, const std::string& prefix));

}  // namespace spectralkv
