// What the builtin chat formats need to know of a template's Jinja source, read without running it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace spectralkv {

// The source's texts in order: string literals inside {{ }} and {% %} with their escapes undone, and the text
// outside of them. Comments are left out. Broken sources give what could be read.
std::vector<std::string> template_texts(std::string_view source);

// The message between `open` and `close` inside one of the texts, "" when none has it: a default system
// message.
std::string text_between(const std::vector<std::string>& texts, std::string_view open,
                         std::string_view close);

// The builtin format that a template is of.
enum class ChatFamily { none, chatml, llama3, mistral };

struct Recognised {
  ChatFamily family = ChatFamily::none;
  std::string why_not;  // of a template that looks like one of them and is another
};

// Strict: a template with marks that the format does not have, with other text between its marks, or with
// thoughts that it cuts out of the chat's past, is none. texts: template_texts(source).
Recognised recognise_chat(std::string_view source, const std::vector<std::string>& texts);

// Jinja sources of the builtin formats by name: chatml, llama3, mistral. "" for any other name.
std::string builtin_template_source(std::string_view name);

}  // namespace spectralkv
