// The builtin chat formats: chatml, llama-3, mistral. What a template varies within its family (default
// system message, spaces around the marks, trimming, where the system message goes) is read from its source.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/error.h"
#include "cli/chat_template.h"
#include "cli/cli.h"
#include "gguf/cursor.h"

namespace spectralkv {
namespace {

struct Source {
  const std::string& text;
  std::vector<std::string> literals;

  bool has(std::string_view what) const { return text.find(what) != std::string::npos; }
};

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\n\r\f\v";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

bool has_system(const std::vector<ChatMessage>& messages) {
  return !messages.empty() && messages[0].role == "system";
}

bool trims_content(const Source& source) {
  constexpr std::array<const char*, 3> kForms = {"content']", "content\"]", ".content"};
  return std::any_of(kForms.begin(), kForms.end(), [&](const std::string& form) {
    return source.has(form + "|trim") || source.has(form + " | trim");
  });
}

std::string chatml(const Source& source, const std::vector<ChatMessage>& messages, bool open_answer,
                   const std::string& bos) {
  const bool trims = trims_content(source);
  std::string out = source.has("bos_token") ? bos : "";
  const auto turn = [&](const std::string& role, const std::string& content) {
    out += "<|im_start|>" + role + "\n" + content + "<|im_end|>\n";
  };
  const std::string system = text_between(source.literals, "<|im_start|>system\n", "<|im_end|>");
  if (!has_system(messages) && !system.empty()) turn("system", system);
  for (const auto& message : messages) turn(message.role, trims ? trimmed(message.content) : message.content);
  if (open_answer) out += "<|im_start|>assistant\n";
  return out;
}

// Llama 3.1 templates fall back to this date, those of 3.2 and later to today's.
std::string llama3_date(const Source& source) {
  if (!source.has("strftime_now")) return "26 Jul 2024";
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm day{};
  localtime_r(&now, &day);
  return concat(day.tm_mday < 10 ? "0" : "", day.tm_mday, " ", kMonths[day.tm_mon], " ", 1900 + day.tm_year);
}

std::string llama3(const Source& source, const std::vector<ChatMessage>& messages, bool open_answer,
                   const std::string& bos) {
  const bool trims = trims_content(source);
  std::string out = source.has("bos_token") || source.has("<|begin_of_text|>") ? bos : "";
  const auto turn = [&](const std::string& role, const std::string& content) {
    out += "<|start_header_id|>" + role + "<|end_header_id|>\n\n" + content + "<|eot_id|>";
  };
  std::size_t first = 0;
  if (source.has("Cutting Knowledge Date: December 2023")) {  // 3.1 and later always have a system turn
    if (has_system(messages)) first = 1;
    turn("system", "Cutting Knowledge Date: December 2023\nToday Date: " + llama3_date(source) + "\n\n" +
                       (first == 1 ? trimmed(messages[0].content) : ""));
  }
  for (std::size_t i = first; i < messages.size(); ++i)
    turn(messages[i].role, trims ? trimmed(messages[i].content) : messages[i].content);
  if (open_answer) out += "<|start_header_id|>assistant<|end_header_id|>\n\n";
  return out;
}

// The text that has `mark` in it, with the spaces around: "[INST] ", " [INST] ", "[INST]".
std::string spaced_mark(const Source& source, const std::string& mark) {
  for (const auto& literal : source.literals) {
    const std::size_t at = literal.find(mark);
    if (at == std::string::npos) continue;
    const bool before = at > 0 && literal[at - 1] == ' ';
    const bool after = at + mark.size() < literal.size() && literal[at + mark.size()] == ' ';
    return (before ? " " : "") + mark + (after ? " " : "");
  }
  return mark;
}

std::string mistral(const Source& source, const std::vector<ChatMessage>& messages, const std::string& bos,
                    const std::string& eos) {
  const std::string open = spaced_mark(source, "[INST]"), close = spaced_mark(source, "[/INST]");
  // Around an answer: `' ' + message...` and `eos_token + ' '`.
  const bool space_before = source.has("' ' + message") || source.has("\" \" + message") ||
                            source.has("' ' + content") || source.has("\" \" + content");
  const bool space_after = source.has("eos_token + ' '") || source.has("eos_token + \" \"") ||
                           source.has("eos_token+' '") || source.has("eos_token+\" \"");
  const bool trims = source.has("content\"]|trim + eos") || source.has("content\"] | trim + eos") ||
                     source.has("content']|trim + eos") || source.has("content'] | trim + eos");
  const bool system_mark = source.has("[SYSTEM_PROMPT]");  // else in front of a user message
  const bool system_first = source.has("loop.first and system_message");
  std::size_t last_user = 0, first_user = messages.size();
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != "user") continue;
    last_user = i;
    first_user = std::min(first_user, i);
  }
  std::string out = bos;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "user") {
      const bool with_system =
          has_system(messages) && !system_mark && i == (system_first ? first_user : last_user);
      out += open + (with_system ? messages[0].content + "\n\n" : "") + content + close;
    } else if (role == "assistant") {
      out +=
          (space_before ? " " : "") + (trims ? trimmed(content) : content) + eos + (space_after ? " " : "");
    } else {
      check(role == "system" && i == 0, "cli", "this model's chat template has no place for a '", role,
            "' message in position ", i + 1);
      if (system_mark)
        out += spaced_mark(source, "[SYSTEM_PROMPT]") + content + spaced_mark(source, "[/SYSTEM_PROMPT]");
    }
  }
  return out;
}

// The start of a template on one line, for messages.
std::string beginning(const std::string& source) {
  std::string text;
  for (const char c : source.substr(0, 60)) text += c == '\n' || c == '\r' || c == '\t' ? ' ' : c;
  return printable(text) + (source.size() > 60 ? "..." : "");
}

// One of the builtin families; a template of any other is refused.
ChatFamily recognised(const Source& source, const std::string& any) {
  const Recognised found = recognise_chat(source.text, source.literals);
  if (found.family == ChatFamily::none)
    fail(ErrorKind::value, "cli", "the chat template '", beginning(source.text),
         "' is none of the builtin ones (chatml, llama3, mistral)",
         found.why_not.empty() ? "" : "; " + found.why_not, ": the Python package runs any, by ", any,
         "; or choose one with --chat-template, or continue plain text with --no-conversation");
  return found.family;
}

}  // namespace

std::string format_chat_builtin(const std::string& source_text, const std::vector<ChatMessage>& messages,
                                bool add_generation_prompt, const std::string& bos, const std::string& eos,
                                const std::string& any) {
  const Source source{source_text, template_texts(source_text)};
  switch (recognised(source, any)) {
    case ChatFamily::chatml:
      return chatml(source, messages, add_generation_prompt, bos);
    case ChatFamily::llama3:
      return llama3(source, messages, add_generation_prompt, bos);
    case ChatFamily::mistral:
      return mistral(source, messages, bos, eos);
    case ChatFamily::none:
      break;
  }
  return "";  // `recognised` gives none of that kind
}

void check_chat_builtin(const std::string& source, const std::string& any) {
  recognised({source, template_texts(source)}, any);
}

}  // namespace spectralkv
