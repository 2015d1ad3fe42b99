// llama.cpp's options beside ours, as `help llama.cpp` prints them and docs/llama-cpp.md has them.
#pragma once

#include <string>

namespace spectralkv {

// Markdown: a table for each of `run`, `bench` and `perplexity`.
std::string peer_table();

}  // namespace spectralkv
