// Reads just what JSON such a file needs: an array of objects whose values are strings.
#include "cli/chat_file.h"

#include <span>
#include <string_view>

#include "base/atomic_file.h"
#include "base/error.h"
#include "cli/json.h"
#include "cli/streams.h"
#include "tokenizer/unicode.h"

namespace spectralkv {
namespace {

class ChatReader {
 public:
  ChatReader(const std::string& path, std::string_view text) : path_(path), text_(text) {}

  std::vector<ChatMessage> read() {
    std::vector<ChatMessage> messages;
    expect('[');
    if (!accept(']')) {
      do messages.push_back(message());
      while (accept(','));
      expect(']');
    }
    skip_space();
    if (at_ != text_.size()) fail_here("the end");
    return messages;
  }

 private:
  ChatMessage message() {
    ChatMessage result;
    bool has_content = false;
    expect('{');
    do {
      const std::string key = string();
      expect(':');
      if (key != "role" && key != "content")
        fail(ErrorKind::value, "cli", "'", path_, "' is no saved chat: a message has '", key,
             "' beside role and content");
      has_content |= key == "content";
      (key == "role" ? result.role : result.content) = string();
    } while (accept(','));
    expect('}');
    check(result.role == "system" || result.role == "user" || result.role == "assistant", "cli", "'", path_,
          "' is no saved chat: the role '", result.role, "' is none of system, user, assistant");
    check(has_content, "cli", "'", path_, "' is no saved chat: a message has no content");
    return result;
  }

  std::string string() {
    expect('"');
    std::string out;
    for (;;) {
      if (at_ == text_.size()) fail_here("'\"'");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
      const char letter = at_ < text_.size() ? text_[at_++] : '\0';
      if (const std::size_t known = kLetters.find(letter); letter != '\0' && known != std::string_view::npos)
        out += kMeanings[known];
      else if (letter == 'u')
        append_utf8(out, code_point());
      else
        fail_here("an escape");
    }
  }

  // Behind "\u"; of a pair of surrogates the character, of half of one U+FFFD.
  std::uint32_t code_point() {
    const std::uint32_t first = four_digits();
    if (first < 0xd800 || first > 0xdfff) return first;
    if (first > 0xdbff || text_.substr(at_, 2) != "\\u") return 0xfffd;
    at_ += 2;
    const std::uint32_t second = four_digits();
    if (second < 0xdc00 || second > 0xdfff) return 0xfffd;
    return 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
  }

  std::uint32_t four_digits() {
    std::uint32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = at_ < text_.size() ? text_[at_] : '\0';
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail_here("four digits");
      value = 16 * value + static_cast<std::uint32_t>(digit);
      ++at_;
    }
    return value;
  }

  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\r\n").find(text_[at_]) != std::string_view::npos)
      ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!accept(c)) fail_here(concat("'", c, "'").c_str());
  }
  [[noreturn]] void fail_here(const char* expected) const {
    fail(ErrorKind::value, "cli", "'", path_, "' is no saved chat: ", expected, " is missing at byte ", at_);
  }

  const std::string& path_;
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

void save_chat(const std::string& path, const std::vector<ChatMessage>& messages) {
  JsonWriter list("[]");
  for (const ChatMessage& message : messages) {
    JsonWriter item("{}");
    item.add("role", message.role);
    item.add("content", message.content);
    list.push_raw(item.compact());
  }
  const std::string text = list.lines() + "\n";
  AtomicFile file(path, "cli");
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

std::vector<ChatMessage> load_chat(const std::string& path) {
  const std::string text = read_text_file(path);
  return ChatReader(path, text).read();
}

}  // namespace spectralkv
