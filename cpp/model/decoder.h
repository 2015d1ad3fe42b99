// The forward pass that Llama, Mistral and Qwen2 share.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/weights.h"

namespace spectralkv {

std::unique_ptr<Model> make_decoder(const ModelConfig& config, Weights weights);

}  // namespace spectralkv
