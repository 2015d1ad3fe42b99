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
      layer_slides;  // per layer: does the window hold there (all, where the file has no pattern)

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
void refuse_experts(const Gguf& file, const std::string& prefix);
// All of these, as Llama has them, experts refused.
ModelConfig read_dense_decoder(const Gguf& file, const std::string& prefix);

}  // namespace spectralkv
