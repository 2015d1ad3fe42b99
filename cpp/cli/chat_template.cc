// A scanner of Jinja's outermost syntax.
#include "cli/chat_template.h"

namespace spectralkv {
namespace {

bool starts_with(std::string_view text, std::size_t at, std::string_view what) {
  return text.substr(at, what.size()) == what;
}

// Reads the literal whose opening quote stands at `at`; leaves `at` behind its closing quote.
std::string read_literal(std::string_view source, std::size_t& at) {
  const char quote = source[at++];
  std::string text;
  for (; at < source.size() && source[at] != quote; ++at) {
    if (source[at] != '\\' || at + 1 == source.size()) {
      text += source[at];
      continue;
    }
    const char escaped = source[++at];
    switch (escaped) {
      case 'n':
        text += '\n';
        break;
      case 't':
        text += '\t';
        break;
      case 'r':
        text += '\r';
        break;
      default:
        text += escaped;  // a quote or a backslash
    }
  }
  if (at < source.size()) ++at;
  return text;
}

// The kinds of the three formats, in their commonest wording.
constexpr const char* kChatml =
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% "
    "endif %}";
constexpr const char* kLlama3 =
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + "
    "'<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";
// A system message goes in front of the last user message.
constexpr const char* kMistral =
    "{% if messages[0]['role'] == 'system' %}{% set system_message = messages[0]['content'] %}"
    "{% set turns = messages[1:] %}{% else %}{% set turns = messages %}{% endif %}{{ bos_token }}"
    "{% for message in turns %}{% if message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% if loop.last and system_message is defined %}{{ system_message + '\\n\\n' }}{% endif %}"
    "{{ message['content'] + '[/INST]' }}{% else %}{{ ' ' + message['content'] + eos_token }}{% endif %}{% "
    "endfor %}";

}  // namespace

std::vector<std::string> template_texts(std::string_view source) {
  std::vector<std::string> texts;
  std::string outside;
  const auto end_outside = [&] {
    if (!outside.empty()) texts.push_back(std::move(outside));
    outside.clear();
  };
  for (std::size_t at = 0; at < source.size();) {
    if (starts_with(source, at, "{#")) {
      end_outside();
      const std::size_t end = source.find("#}", at + 2);
      at = end == std::string_view::npos ? source.size() : end + 2;
    } else if (starts_with(source, at, "{{") || starts_with(source, at, "{%")) {
      end_outside();
      const std::string_view close = source[at + 1] == '{' ? "}}" : "%}";
      for (at += 2; at < source.size() && !starts_with(source, at, close);) {
        if (source[at] == '\'' || source[at] == '"')
          texts.push_back(read_literal(source, at));
        else
          ++at;
      }
      at += close.size();
    } else {
      outside += source[at++];
    }
  }
  end_outside();
  return texts;
}

std::string text_between(const std::vector<std::string>& texts, std::string_view open,
                         std::string_view close) {
  for (const auto& text : texts) {
    const std::size_t begin = text.find(open);
    if (begin == std::string::npos) continue;
    const std::size_t end = text.find(close, begin + open.size());
    if (end == std::string::npos) continue;
    return text.substr(begin + open.size(), end - begin - open.size());
  }
  return "";
}

std::string builtin_template_source(std::string_view name) {
  if (name == "chatml") return kChatml;
  if (name == "llama3") return kLlama3;
  if (name == "mistral") return kMistral;
  return "";
}

}  // namespace spectralkv
