// Which builtin chat format a template is of.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {

enum class ChatFamily { none, chatml, llama3, mistral };

struct Recognised {
  ChatFamily family = ChatFamily::none;
  std::string why_not;  // of a template that looks like one of them and is another
};

// Strict: a template with marks that the format does not have, with other text between its marks, or with
// thoughts that it cuts out of the chat's past, is none. texts: template_texts(source).
Recognised recognise_chat(std::string_view source, const std::vector<std::string>& texts);

}  // namespace spectralkv
