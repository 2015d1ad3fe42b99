// Why a file cannot run.
#pragma once

#include <string>
#include <vector>

#include "gguf/gguf.h"

namespace spectralkv {

// The reasons why an Engine would refuse the file, as messages that name what is wrong; none: it loads. Reads
// no weights: what they hold may still be wrong. The file may be open with Gguf::Types::any.
std::vector<std::string> obstacles(const Gguf& file);

}  // namespace spectralkv
