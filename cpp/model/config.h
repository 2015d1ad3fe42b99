// What a GGUF file says of a model's shape and constants.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gguf/gguf.h"
#include "kv/layout.h"

namespace spectralkv {

enum class RopeScaling : std::uint8_t { none, linear, yarn };

struct RopeConfig {
  std::int64_t dims = 0;     // rotated dimensions of a head, even, <= head_dim
  double freq_base = 10000;  // theta
  RopeScaling scaling = RopeScaling::none;
  double factor = 1;                  // linear, yarn
  std::int64_t original_context = 0;  // yarn
  // yarn only, as in its paper (arXiv 2309.00071): ramp between beta_fast and beta_slow rotations, and the
  // attention temperature's multiplier.
  double beta_fast = 32, beta_slow = 1, ext_factor = 1, attn_factor = 1;
};

struct ModelConfig {
  std::string arch;  // as in model/architectures.h
  std::string name;  // general.name, may be empty
  std::int64_t n_layers = 0, n_embd = 0, n_ff = 0, n_vocab = 0;
  std::int64_t n_heads = 0, n_kv_heads = 0, head_dim = 0;
  std::int64_t context_length = 0;  // of the training
  double rms_eps = 1e-5;
  RopeConfig rope;
  std::int64_t sliding_window = 0;  // tokens that a query sees, itself included; 0: all
  std::vector<bool>
      layer_slides;            // per layer: does the window hold there (all, where the file has no pattern)
  double attention_scale = 0;  // of q k; 0: 1 / sqrt(head_dim)
  // Factors on embedded tokens and on what attention and feed-forward add; logits are divided by logit_scale.
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  // A query at position p is multiplied by 1 + temperature_scale ln(1 + floor(p / temperature_length)).
  double temperature_scale = 0;
  std::int64_t temperature_length = 0;
  std::int64_t n_experts = 0, n_experts_used = 0;  // of each layer, and of them for a token; 0: none

  std::int64_t feed_forwards() const { return n_experts > 0 ? n_experts_used : 1; }  // of a token, in a layer
  std::int64_t group() const { return n_heads / n_kv_heads; }  // query heads to a KV head
  CacheShape cache_shape() const { return {n_layers, n_kv_heads, head_dim}; }
};

// Reads and checks the configuration; a key that is missing, absurd or not supported is an error that names
// it.
ModelConfig read_config(const Gguf& file);

// Parts of it, for the rows of model/architectures.h. `prefix` stands before a key: "llama.".
// Layers, widths, heads, context and vocabulary.
ModelConfig read_sizes(const Gguf& file, const std::string& prefix);
double read_epsilon(const Gguf& file, const std::string& key);
RopeConfig read_rope(const Gguf& file, const std::string& prefix, std::int64_t head_dim);
// Into what read_sizes gave, which has none.
void read_sliding_window(const Gguf& file, const std::string& prefix, ModelConfig& config);
// A factor that a file may leave out, or give as 0 for none; `none` then.
double read_factor(const Gguf& file, const std::string& key, double none);
// All of these, as Llama has them; experts are refused.
ModelConfig read_dense_decoder(const Gguf& file, const std::string& prefix);
// The same with experts, where the file has them.
ModelConfig read_decoder(const Gguf& file, const std::string& prefix);

}  // namespace spectralkv
