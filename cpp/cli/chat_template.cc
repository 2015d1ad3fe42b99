// A scanner of Jinja's outermost syntax, and a look at a template's marks and at the text right behind them.
#include "cli/chat_template.h"

#include <algorithm>
#include <array>
#include <span>

#include "gguf/cursor.h"

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

using Words = std::span<const std::string_view>;

bool is_in(Words words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// Literals that only name a role or a field of a message, in expressions.
constexpr std::array<std::string_view, 7> kNames = {"role",      "content", "system", "user",
                                                    "assistant", "tool",    "ipython"};
constexpr std::array<std::string_view, 3> kChatmlMarks = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"};
constexpr std::array<std::string_view, 7> kLlama3Marks = {
    "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<|eom_id|>",        "<|python_tag|>",      "<|end_of_text|>"};

// The texts that a template writes, one behind the other.
std::string written(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts)
    if (!is_in(kNames, text)) all += text;
  return all;
}

// The first mark <|...|> that the format does not have, or "".
std::string foreign_mark(std::string_view text, Words known) {
  for (std::size_t at = 0; (at = text.find("<|", at)) != std::string_view::npos; at += 2) {
    const std::size_t end = text.find("|>", at);
    if (end == std::string_view::npos) break;
    const std::string_view mark = text.substr(at, end + 2 - at);
    if (mark.find_first_of(" \n") == std::string_view::npos && !is_in(known, mark)) return printable(mark);
  }
  return "";
}

// True when each `mark` is followed by `next`, with or without a role between them where `role` says so.
bool always_followed(std::string_view text, std::string_view mark, std::string_view next, bool role) {
  for (std::size_t at = 0; (at = text.find(mark, at)) != std::string_view::npos;) {
    std::string_view rest = text.substr(at += mark.size());
    for (const auto name : kNames)
      if (role && rest.starts_with(name)) {
        rest.remove_prefix(name.size());
        break;
      }
    if (!rest.starts_with(next)) return false;
  }
  return true;
}

std::string why_not_chatml(const std::string& text) {
  if (const std::string mark = foreign_mark(text, kChatmlMarks); !mark.empty())
    return "chatml has no " + mark;
  if (!always_followed(text, "<|im_start|>", "\n", true))
    return "chatml has a line break behind <|im_start|> and the role";
  if (text.find("<|im_end|>\n") == std::string::npos)
    return "chatml ends messages with <|im_end|> and a line break";
  return "";
}

std::string why_not_llama3(const std::string& text) {
  if (const std::string mark = foreign_mark(text, kLlama3Marks); !mark.empty())
    return "llama3 has no " + mark;
  if (!always_followed(text, "<|start_header_id|>", "<|end_header_id|>", true) ||
      !always_followed(text, "<|end_header_id|>", "\n\n", false))
    return "llama3 has <|end_header_id|> and two line breaks behind <|start_header_id|> and the role";
  if (text.find("<|eot_id|>") == std::string::npos) return "llama3 ends messages with <|eot_id|>";
  return "";
}

std::string why_not_mistral(const std::string& text) {
  if (const std::string mark = foreign_mark(text, {}); !mark.empty()) return "mistral has no " + mark;
  if (text.find("<<SYS>>") != std::string::npos) return "mistral has no <<SYS>>";
  if (text.find("[/INST]") == std::string::npos) return "mistral ends questions with [/INST]";
  return "";
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

Recognised recognise_chat(std::string_view source, const std::vector<std::string>& texts) {
  const std::string text = written(texts);
  const auto has = [&](std::string_view mark) { return text.find(mark) != std::string::npos; };
  Recognised found;
  if (has("<|im_start|>")) {
    found = {ChatFamily::chatml, why_not_chatml(text)};
  } else if (has("<|start_header_id|>")) {
    found = {ChatFamily::llama3, why_not_llama3(text)};
  } else if (has("[INST]")) {
    found = {ChatFamily::mistral, why_not_mistral(text)};
  } else {
    return found;
  }
  if (source.find("</think>") != std::string_view::npos)
    found.why_not = "it cuts the model's thoughts out of earlier answers";
  if (!found.why_not.empty()) found.family = ChatFamily::none;
  return found;
}

std::string builtin_template_source(std::string_view name) {
  if (name == "chatml") return kChatml;
  if (name == "llama3") return kLlama3;
  if (name == "mistral") return kMistral;
  return "";
}

}  // namespace spectralkv
