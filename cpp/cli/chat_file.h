// A chat as a file: a JSON array of its messages, as OpenAI's API has them.
#pragma once

#include <string>
#include <vector>

#include "cli/cli.h"

namespace spectralkv {

// Written whole or not at all. An os error says why it cannot be.
void save_chat(const std::string& path, const std::vector<ChatMessage>& messages);
// A value error says what is wrong with the file, which anybody may have written.
std::vector<ChatMessage> load_chat(const std::string& path);

}  // namespace spectralkv
