// What kind of text a file holds: models read UTF-8, and editors save other kinds. What escapes in a typed
// text stand for.
#pragma once

#include <string>

namespace spectralkv {

// The text without its byte order mark. UTF-16 and UTF-32 are a value error that says so; what is no UTF-8
// otherwise, or has NUL bytes, is told in `warning`, which is empty for everything else. `name` as messages
// have it.
std::string plain_text(std::string bytes, const std::string& name, std::string& warning);

// What \n and the like in a text stand for; any other backslash stays.
std::string unescaped(const std::string& text);

}  // namespace spectralkv
