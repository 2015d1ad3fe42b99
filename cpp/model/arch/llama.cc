// Llama (Touvron et al., arXiv 2302.13971) and Mistral (Jiang et al., arXiv 2310.06825). GGUF has the rows of
// q and k that RoPE turns together side by side; Mixtral's files have this name too, and are refused.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

LayerWeights load_layer(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  load_attention(from, prefix, RopeRows::pairs, layer);
  load_gated_feed_forward(from, prefix, layer);
  return layer;
}

}  // namespace

extern const Architecture llama = {"llama", "Llama and Mistral", read_dense_decoder,
                                   load_decoder<load_layer>};

}  // namespace spectralkv::arch
