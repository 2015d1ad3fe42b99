// Llama (Touvron et al., arXiv 2302.13971) and Mistral (Jiang et al., arXiv 2310.06825). GGUF has the rows of
// q and k that RoPE turns together side by side; Mixtral's files have this name too.
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
  layer.q = from.linear(prefix + "attn_q", "qe");
  layer.k = from.linear(prefix + "attn_k", "ke");
  layer.v = from.linear(prefix + "attn_v", "ke");
  layer.o = from.linear(prefix + "attn_output", "eq");
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

std::unique_ptr<Model> load(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, load_layer));
}

}  // namespace

extern const Architecture llama = {"llama", "Llama and Mistral", read_config, load};

}  // namespace spectralkv::arch
