// Llama (Touvron et al., arXiv 2302.13971), Mistral (Jiang et al., arXiv 2310.06825) and Mixtral (arXiv
// 2401.04088), whose feed-forwards are mixtures of experts. GGUF has the rows of q and k that RoPE turns
// together side by side.
#include "model/architectures.h"
#include "model/decoder.h"

namespace spectralkv::arch {
namespace {

LayerWeights load_layer_of_experts(WeightLoader& from, const std::string& prefix) {
  LayerWeights layer;
  load_attention(from, prefix, RopeRows::pairs, layer);
  load_experts(from, prefix, layer);
  return layer;
}

class ExpertGraph final : public Decoder {
 public:
  using Decoder::Decoder;

 private:
  void feed_forward(const Pass& pass, std::int64_t l) const override {
    expert_feed_forward(pass, config(), layer(l));
  }
};

std::unique_ptr<Model> load(const Gguf& file, const ModelConfig& config, Backend& backend) {
  const auto make = config.n_experts > 0 ? load_decoder<load_layer_of_experts, ExpertGraph>
                                         : load_decoder<load_llama_layer, Decoder>;
  return make(file, config, backend);
}

}  // namespace

extern const Architecture llama = {"llama", "Llama, Mistral and Mixtral", read_decoder, load};

}  // namespace spectralkv::arch
