// The rows, and the search in them.
#include "model/architectures.h"

#include <array>
#include <string>

#include "base/error.h"
#include "gguf/cursor.h"

namespace spectralkv {
namespace arch {
extern const Architecture llama, qwen2, qwen3, granite, smollm3, mistral3;
}  // namespace arch

namespace {

constexpr std::array kTable = {
    &arch::llama, &arch::qwen2, &arch::qwen3, &arch::granite, &arch::smollm3, &arch::mistral3,
};

}  // namespace

std::span<const Architecture* const> architectures() {
  return kTable;
}

const Architecture& architecture_of(const Gguf& file) {
  const std::string& name = file.get_string("general.architecture");
  for (const Architecture* row : kTable)
    if (row->name == name) return *row;
  std::string known;
  for (const Architecture* row : kTable)
    known += concat(known.empty() ? "" : ", ", row->name, " (", row->models, " models)");
  fail(ErrorKind::value, "model", "'", file.path(), "': architecture '", printable(name),
       "' is not supported; supported: ", known);
}

std::unique_ptr<Model> load_model(const Gguf& file, const ModelConfig& config, Backend& backend) {
  return architecture_of(file).load(file, config, backend);
}

}  // namespace spectralkv
