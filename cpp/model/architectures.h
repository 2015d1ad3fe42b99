// The table of architectures.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "model/model.h"

namespace spectralkv {

// How files of one architecture are read: a constant of that name in arch/NAME.cc, and its address in the
// table.
struct Architecture {
  std::string_view name;    // general.architecture, and the prefix of its keys
  std::string_view models;  // whose it is, for messages
  // All but arch and name of the configuration; prefix: "llama.".
  ModelConfig (*read_config)(const Gguf&, const std::string& prefix);
  std::unique_ptr<Model> (*load)(const Gguf&, const ModelConfig&, Backend&);
};

std::span<const Architecture* const> architectures();
// That of a file; a value error names one that is not in the table, and those that are.
const Architecture& architecture_of(const Gguf& file);

}  // namespace spectralkv
