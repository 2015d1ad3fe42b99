// Values that stand in the place of the file's: --override-kv, and what the options of RoPE and YaRN say.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cli/args.h"
#include "gguf/gguf.h"

namespace spectralkv {

struct Overrides {
  std::vector<GgufEntry> entries;  // whole keys
  std::vector<GgufEntry> rope;     // the ends of keys behind "ARCHITECTURE.rope."
};

std::vector<Option> override_rows(Overrides& overrides);

// The entries for the model of a file, which is opened where RoPE is asked for.
std::vector<GgufEntry> settled_overrides(const Overrides& overrides, const std::string& path);

}  // namespace spectralkv
