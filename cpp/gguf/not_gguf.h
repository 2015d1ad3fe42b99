// What to tell somebody who gave something else than a GGUF file.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace spectralkv {

// Of a folder: what it seems to hold, and the command or the path that helps. It need not exist.
std::string about_folder(const std::string& path);

// Of a file that does not begin as GGUF does: what it is, and what helps.
std::string about_file(std::span<const std::byte> bytes, const std::string& path);

}  // namespace spectralkv
