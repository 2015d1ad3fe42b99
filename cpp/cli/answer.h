// Prompt in, text out: reading a prompt and streaming what the model makes of it to stdout.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/log.h"
#include "engine/generate.h"

namespace spectralkv {

// A value error that names both numbers and the option when n tokens are more than the context holds.
void check_fits(std::size_t n_tokens, const Session& session, const char* what);

// Lets the session read tokens, with a counter on the terminal where there is more than one batch. Ctrl-C
// throws ErrorKind::interrupted.
void read_prompt(Session& session, std::span<const Token> tokens, const Log& log);

struct Answer {
  std::string text;           // all of it, before any space was taken off
  std::vector<Token> tokens;  // all that were drawn; the session has read them but for the last
  FinishReason reason = FinishReason::none;
  bool ended_by_token = false;  // by an end token: the session holds all of the text
  bool context_full = false;
};

// One answer as it is generated and printed: at once, or in parts where room is made in the context
// meanwhile.
class AnswerStream {
 public:
  // strip_space: leave out one space in front (what SentencePiece puts before words).
  AnswerStream(Session& session, GenerateOptions options, bool strip_space);

  // Goes on until the model ends, a stop text comes, max_tokens are there or the context is full. When it is
  // called again, the session has read all tokens so far.
  const Answer& go_on();
  // Ends the line that was printed last, if it is not ended.
  void end_line() const;

 private:
  void give(const std::string& text);

  Session& session_;
  GenerateOptions options_;
  Answer answer_;
  bool at_start_;
  char last_ = '\n';
};

// Says on the log that the context is full, and what raises it.
void log_context_full(const Session& session, const Log& log);

// True where answers of a chat start with a space that is no part of the message.
bool answers_start_with_space(const Tokenizer& tokenizer);

}  // namespace spectralkv
