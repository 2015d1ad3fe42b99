// A chat: its messages, and the session brought in line with them at each turn.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/answer.h"
#include "cli/cli.h"

namespace spectralkv {

class Conversation {
 public:
  // source: the template. system: the system message, or nullptr for none (the template may have a default).
  // parse_special: control tokens that are written in messages count; else they are plain text.
  Conversation(Session& session, ChatFormatter format, std::string source, const std::string* system,
               bool parse_special);

  // Adds the user's message and lets the session read what is new, up to where the answer starts. Throws what
  // read_prompt and check_fits throw; the message is then forgotten.
  void ask(const std::string& message, const Log& log);
  // Adds the answer that followed.
  void add_answer(const Answer& answer);
  // Forgets everything but the system message.
  void reset();

 private:
  std::string render() const;
  std::vector<Token> encode(const std::string& rendered) const;
  void bring_session_to(const std::vector<Token>& tokens, const Log& log);

  Session& session_;
  ChatFormatter format_;
  std::string source_;
  std::vector<ChatMessage> messages_;
  std::size_t n_system_ = 0;
  bool parse_special_;
  std::string
      session_text_;  // the text that the session's tokens stand for; empty when that is not known for sure
};

}  // namespace spectralkv
