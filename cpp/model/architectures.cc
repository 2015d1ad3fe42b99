// The rows, and the search in them.
#include "model/architectures.h"

#include <array>
#include <string>

#include "base/error.h"
#include "model/arch/llama.h"
#include "model/arch/qwen2.h"

namespace spectralkv {
namespace {

constexpr std::array kTable = {
    Architecture{"llama", "Llama and Mistral", load_llama},
    Architecture{"qwen2", "Qwen2 and Qwen2.5", load_qwen2},
};

}  // namespace

std::span<const Architecture> architectures() {
  return kTable;
}

const Architecture& architecture_of(const Gguf& file) {
  const std::string& name = file.get_string("general.architecture");
  for (const Architecture& row : kTable)
    if (row.name == name) return row;
  std::string known;
  for (const Architecture& row : kTable)
    known += concat(known.empty() ? "" : ", ", row.name, " (", row.models, " models)");
  fail(ErrorKind::value, "model", "'", file.path(), "': architecture '", name,
       "' is not supported; supported: ", known);
}

std::unique_ptr<Model> load_model(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return architecture_of(file).load(file, config, backend);
}

}  // namespace spectralkv
