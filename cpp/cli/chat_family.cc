// Looks at a template's marks and at the text that stands right behind them.
#include "cli/chat_family.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/error.h"

namespace spectralkv {
namespace {

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
    if (mark.find_first_of(" \n") == std::string_view::npos && !is_in(known, mark)) return std::string(mark);
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

}  // namespace

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

}  // namespace spectralkv
