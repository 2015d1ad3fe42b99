// The table of architectures.
#include <array>
#include <string_view>

#include "base/error.h"
#include "model/arch/llama.h"

namespace spectralkv {
namespace {

struct Architecture {
  std::string_view name;  // general.architecture
  std::unique_ptr<Model> (*load)(const Gguf&, const ModelConfig&, Backend&);
};

constexpr std::array kTable = {
    Architecture{"llama", load_llama},
};

}  // namespace

std::unique_ptr<Model> load_model(const Gguf& file, const ModelConfig& config, Backend& backend) {
  for (const Architecture& row : kTable)
    if (row.name == config.arch) return row.load(file, config, backend);
  fail(ErrorKind::value, "model", "'", file.path(), "': architecture '", config.arch, "' is not supported");
}

}  // namespace spectralkv
