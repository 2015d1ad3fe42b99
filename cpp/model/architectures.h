// The table of architectures.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "model/model.h"

namespace spectralkv {

struct Architecture {
  std::string_view name;    // general.architecture, and the prefix of its keys
  std::string_view models;  // whose it is, for messages
  std::unique_ptr<Model> (*load)(const Gguf&, const ModelConfig&, Backend&);
};

std::span<const Architecture> architectures();
// That of a file; a value error names one that is not in the table, and those that are.
const Architecture& architecture_of(const Gguf& file);

}  // namespace spectralkv
