// Qwen2 and Qwen2.5 (Yang et al., arXiv 2407.10671 and 2412.15115): Llama with biases on q, k and v, and with
// rows as Hugging Face keeps them.
#include "model/arch/qwen2.h"

#include "model/decoder.h"

namespace spectralkv {

std::unique_ptr<Model> load_qwen2(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, {RopeRows::halves, QkvBias::required}));
}

}  // namespace spectralkv
