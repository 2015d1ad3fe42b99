// Chat history kept in the session: only the tokens of the new turn are read.
#include "cli/conversation.h"

#include <algorithm>

#include "base/error.h"

namespace spectralkv {

Conversation::Conversation(Session& session, ChatFormatter format, std::string source,
                           const std::string* system, bool forgets, bool parse_special)
    : session_(session),
      format_(std::move(format)),
      source_(std::move(source)),
      forgets_(forgets),
      parse_special_(parse_special) {
  if (system == nullptr) return;
  messages_.push_back({"system", *system});
  n_system_ = 1;
}

void Conversation::ask(const std::string& message, const Log& log) {
  const std::vector<ChatMessage> before = messages_;
  messages_.push_back({"user", message});
  try {
    // One place at least is for the answer.
    read_chat(static_cast<std::size_t>(session_.n_ctx()) - 1, {}, log);
  } catch (...) {
    messages_ = before;
    throw;
  }
}

bool Conversation::make_room(const std::vector<Token>& answer, const Log& log) {
  const std::vector<ChatMessage> before = messages_;
  if (!forgets_ || forget_oldest() == 0) return false;
  messages_ = before;  // read_chat counts what goes
  read_chat(0, answer, log);
  return true;
}

// Lets the session read the chat, and the answer so far, up to three quarters of the context once they are
// more than `most` tokens, as far as there are turns to forget: room for some turns to come.
void Conversation::read_chat(std::size_t most, const std::vector<Token>& answer, const Log& log) {
  std::size_t forgotten = 0;
  std::string rendered;
  std::vector<Token> tokens;
  for (;;) {
    rendered = render(log);
    tokens = encode(rendered);
    tokens.insert(tokens.end(), answer.begin(), answer.end());
    if (tokens.size() <= most || !forgets_) break;
    most = 3 * static_cast<std::size_t>(session_.n_ctx()) / 4;
    const std::size_t n = forget_oldest();
    if (n == 0) break;
    forgotten += n;
  }
  check_fits(tokens.size(), session_, "the chat");
  if (forgotten > 0)
    log.info("the context of ", session_.n_ctx(), " tokens is full: the oldest ", forgotten,
             " messages are forgotten", n_system_ > 0 ? ", but for the system message" : "",
             "; -c (--ctx-size) raises it");
  session_text_.clear();
  bring_session_to(tokens, log);
  session_text_ = rendered;
}

// With marks where a message is to stay plain text.
std::string Conversation::render(const Log& log) const {
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  const auto text_of = [&](Token token) { return token >= 0 ? tokenizer.piece(token, true) : std::string(); };
  std::vector<ChatMessage> messages = messages_;
  if (!parse_special_)
    for (ChatMessage& message : messages) message.content = tokenizer.mark_plain(message.content);
  std::string rendered =
      format_(source_, messages, true, text_of(tokenizer.vocab().bos), text_of(tokenizer.vocab().eos));
  log.detail("chat as the model reads it:\n", Tokenizer::without_marks(rendered));
  check(!rendered.empty(), "cli", "the chat template makes an empty prompt of this chat");
  return rendered;
}

// The first message of the user's and its answer, unless it is the last; gives how many messages those were.
std::size_t Conversation::forget_oldest() {
  const auto first = messages_.begin() + static_cast<std::ptrdiff_t>(n_system_);
  if (first == messages_.end()) return 0;
  const auto next =
      std::find_if(first + 1, messages_.end(), [](const ChatMessage& m) { return m.role == "user"; });
  if (next == messages_.end()) return 0;
  const auto n = static_cast<std::size_t>(next - first);
  messages_.erase(first, next);
  session_text_.clear();
  return n;
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

std::optional<std::string> Conversation::take_back() {
  for (std::size_t i = messages_.size(); i > n_system_; --i) {
    if (messages_[i - 1].role != "user") continue;
    std::string message = std::move(messages_[i - 1].content);
    messages_.resize(i - 1);
    session_text_.clear();
    return message;
  }
  return std::nullopt;
}

void Conversation::replace(std::vector<ChatMessage> messages) {
  messages_ = std::move(messages);
  n_system_ = 0;
  while (n_system_ < messages_.size() && messages_[n_system_].role == "system") ++n_system_;
  session_text_.clear();
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
