// Qwen2 and Qwen2.5 (Yang et al., arXiv 2407.10671 and 2412.15115): Llama with biases on q, k and v, and with
// rows as Hugging Face keeps them.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

ModelConfig read_config(const Gguf& file, const std::string& prefix) {
  refuse_experts(file, prefix);
  ModelConfig config = read_sizes(file, prefix);
  config.rms_eps = read_epsilon(file, prefix + "attention.layer_norm_rms_epsilon");
  config.rope = read_rope(file, prefix, config.head_dim);
  read_sliding_window(file, prefix, config);
  return config;
}

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  layer.attn_norm = from.vector(prefix + "attn_norm", "e");
  for (const char* part : {"attn_q", "attn_k", "attn_v"}) from.require(prefix + part + ".bias");
  layer.q = from.linear_of_halves(prefix + "attn_q", "qe");
  layer.k = from.linear_of_halves(prefix + "attn_k", "ke");
  layer.v = from.linear(prefix + "attn_v", "ke");
  layer.o = from.linear(prefix + "attn_output", "eq");
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

std::unique_ptr<Model> load(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, load_layer));
}

}  // namespace

extern const Architecture qwen2 = {"qwen2", "Qwen2 and Qwen2.5", read_config, load};

}  // namespace spectralkv::arch
