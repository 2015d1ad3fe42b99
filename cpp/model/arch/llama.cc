// Llama (Touvron et al., arXiv 2302.13971) and Mistral (Jiang et al., arXiv 2310.06825).
#include "model/arch/llama.h"

#include "model/decoder.h"

namespace spectralkv {

std::unique_ptr<Model> load_llama(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, {RopeRows::pairs, QkvBias::optional}));
}

}  // namespace spectralkv
