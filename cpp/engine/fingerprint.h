// Tells models apart without reading all of their weights.
#pragma once

#include <cstdint>

#include "gguf/gguf.h"
#include "model/config.h"

namespace spectralkv {

// Over the configuration, general.name, every tensor's name, type and dimensions, and 64 bytes of each
// tensor's data at its start, middle and end. The same for a file and its split form.
std::uint64_t model_fingerprint(const Gguf& file, const ModelConfig& config);

}  // namespace spectralkv
