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

// Jinja sources of the builtin formats by name: chatml, llama3, mistral. "" for any other name.
std::string builtin_template_source(std::string_view name);

}  // namespace spectralkv
