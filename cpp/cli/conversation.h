// A chat: its messages, and the session brought in line with them at each turn.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "cli/answer.h"
#include "cli/cli.h"

namespace spectralkv {

class Conversation {
 public:
  // source: the template. system: the system message, or nullptr for none (the template may have a default).
  // forgets: the oldest turns go when the context is full; the system message stays. parse_special: control
  // tokens that are written in messages count; else they are plain text.
  Conversation(Session& session, ChatFormatter format, std::string source, const std::string* system,
               bool forgets, bool parse_special);

  // Adds the user's message and lets the session read what is new, up to where the answer starts. Throws what
  // read_prompt and check_fits throw; the chat is then as it was.
  void ask(const std::string& message, const Log& log);
  // When the context is full within the answer to that message: forgets turns, and lets the session read the
  // rest and the answer so far again. False where there is nothing to forget.
  bool make_room(const std::vector<Token>& answer, const Log& log);
  // Adds the answer that followed.
  void add_answer(const Answer& answer);
  // Forgets everything but the system message.
  void reset();
  // Forgets the last message and what followed it; gives the message, or nothing where there is none.
  std::optional<std::string> take_back();

  const std::vector<ChatMessage>& messages() const { return messages_; }
  // Goes on from other messages.
  void replace(std::vector<ChatMessage> messages);

 private:
  std::string render(const Log& log) const;
  std::vector<Token> encode(const std::string& rendered) const;
  std::size_t forget_oldest();
  void read_chat(std::size_t most, const std::vector<Token>& answer, const Log& log);
  void bring_session_to(const std::vector<Token>& tokens, const Log& log);

  Session& session_;
  ChatFormatter format_;
  std::string source_;
  bool forgets_, parse_special_;
  std::vector<ChatMessage> messages_;
  std::size_t n_system_ = 0;
  std::string
      session_text_;  // the text that the session's tokens stand for; empty when that is not known for sure
};

}  // namespace spectralkv
