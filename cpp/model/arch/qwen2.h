// Qwen2 and Qwen2.5.
#pragma once

#include <memory>

#include "model/model.h"

namespace spectralkv {

std::unique_ptr<Model> load_qwen2(const Gguf& file, const ModelConfig& config, Backend& backend);

}  // namespace spectralkv
