// Chat history kept in the session: only the tokens of the new turn are read.
#include "cli/conversation.h"

#include "base/error.h"

namespace spectralkv {

Conversation::Conversation(Session& session, ChatFormatter format, std::string source,
                           const std::string* system, bool parse_special)
    : session_(session),
      format_(std::move(format)),
      source_(std::move(source)),
      parse_special_(parse_special) {
  if (system == nullptr) return;
  messages_.push_back({"system", *system});
  n_system_ = 1;
}

void Conversation::ask(const std::string& message, const Log& log) {
  messages_.push_back({"user", message});
  try {
    const std::string rendered = render();
    log.detail("chat as the model reads it:\n", Tokenizer::without_marks(rendered));
    check(!rendered.empty(), "cli", "the chat template makes an empty prompt of this chat");
    const std::vector<Token> tokens = encode(rendered);
    check_fits(tokens.size(), session_, "the chat");
    session_text_.clear();
    bring_session_to(tokens, log);
    session_text_ = rendered;
  } catch (...) {
    messages_.pop_back();
    throw;
  }
}

void Conversation::add_answer(const Answer& answer) {
  std::string text = answer.text;
  if (answers_start_with_space(session_.engine().tokenizer()) && text.starts_with(' ')) text.erase(0, 1);
  messages_.push_back({"assistant", std::move(text)});
  if (answer.ended_by_token)
    session_text_ += answer.text;
  else
    session_text_.clear();  // the last token is not in the session, or a stop string is
}

void Conversation::reset() {
  messages_.resize(n_system_);
  session_.reset();
  session_text_.clear();
}

// With marks where a message is to stay plain text.
std::string Conversation::render() const {
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  const auto text_of = [&](Token token) { return token >= 0 ? tokenizer.piece(token, true) : std::string(); };
  std::vector<ChatMessage> messages = messages_;
  if (!parse_special_)
    for (ChatMessage& message : messages) message.content = tokenizer.mark_plain(message.content);
  return format_(source_, messages, true, text_of(tokenizer.vocab().bos), text_of(tokenizer.vocab().eos));
}

// Where the new text goes on from the session's with a control token, the session's tokens stand as they are:
// those that the model chose for its answer need not be the ones that encoding the answer gives.
std::vector<Token> Conversation::encode(const std::string& rendered) const {
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  if (!session_text_.empty() && rendered.starts_with(session_text_)) {
    const std::vector<Token> rest = tokenizer.encode_marked(rendered.substr(session_text_.size()));
    if (!rest.empty() && tokenizer.is_control(rest[0])) {
      std::vector<Token> tokens = session_.tokens();
      tokens.insert(tokens.end(), rest.begin(), rest.end());
      return tokens;
    }
  }
  return tokenizer.encode_marked_prompt(rendered);
}

// Keeps what the cache can of the common start, reads the rest.
void Conversation::bring_session_to(const std::vector<Token>& tokens, const Log& log) {
  const auto common = static_cast<std::size_t>(session_.keep_common(tokens));
  log.detail("chat: ", tokens.size(), " tokens, ", common, " of them known");
  read_prompt(session_, std::span(tokens).subspan(common), log);
}

}  // namespace spectralkv
