// The graph of Llama, and of every architecture that differs from it in its weights alone.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/weights.h"

namespace spectralkv {

std::unique_ptr<Model> make_decoder(const ModelConfig& config, Weights weights);

// An architecture's `load`, from how it loads a layer.
template <LayerWeights (*load_layer)(WeightLoader&, const std::string& prefix)>
std::unique_ptr<Model> load_decoder(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return make_decoder(config, load_weights(file, config, backend, load_layer));
}

}  // namespace spectralkv
