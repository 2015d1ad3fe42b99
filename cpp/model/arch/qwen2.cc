// Qwen2 and Qwen2.5 (Yang et al., arXiv 2407.10671 and 2412.15115): Llama with biases on q, k and v, and with
// rows as Hugging Face keeps them.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  for (const char* part : {"attn_q", "attn_k", "attn_v"}) from.require(prefix + part + ".bias");
  load_attention(from, prefix, RopeRows::halves, layer);
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

}  // namespace

extern const Architecture qwen2 = {"qwen2", "Qwen2 and Qwen2.5", read_dense_decoder,
                                   load_decoder<load_layer>};

}  // namespace spectralkv::arch
