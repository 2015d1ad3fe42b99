// Llama and Mistral.
#pragma once

#include <memory>

#include "model/model.h"

namespace spectralkv {

std::unique_ptr<Model> load_llama(const Gguf& file, const ModelConfig& config, Backend& backend);

}  // namespace spectralkv
