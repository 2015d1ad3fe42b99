// A check of a whole file: every value of every tensor, and whether the model can be loaded.
#pragma once

#include "gguf/gguf.h"

namespace spectralkv {

// Returns one line that says what was found right; throws Error, with file and tensor, for what is wrong.
std::string check_file(const Gguf& file);

}  // namespace spectralkv
