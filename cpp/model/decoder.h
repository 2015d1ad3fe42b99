// The graph of Llama, and of every architecture that differs from it in its weights alone.
#pragma once

#include <memory>

#include "model/model.h"
#include "model/weights.h"

namespace spectralkv {

std::unique_ptr<Model> make_decoder(const ModelConfig& config, Weights weights);

}  // namespace spectralkv
