// Reading a prompt and streaming what the model makes of it to stdout.
#pragma once

#include <span>
#include <string>

#include "cli/log.h"
#include "engine/generate.h"

namespace spectralkv {

// A value error that names both numbers and the option when n tokens are more than the context holds.
void check_fits(std::size_t n_tokens, const Session& session, const char* what);

// Lets the session read tokens, with a counter on the terminal where there is more than one batch. Ctrl-C
// throws ErrorKind::interrupted.
void read_prompt(Session& session, std::span<const Token> tokens, const Log& log);

struct Answer {
  std::string text;  // all of it, before any space was taken off
  FinishReason reason = FinishReason::none;
  bool ended_by_token = false;  // by an end token: the session holds all of the text
};

// Generates and prints. strip_space: leave out one space in front (what SentencePiece puts before words).
// Says on the log when the context is full.
Answer stream_answer(Session& session, const GenerateOptions& options, bool strip_space, const Log& log);

// True where answers of a chat start with a space that is no part of the message.
bool answers_start_with_space(const Tokenizer& tokenizer);

}  // namespace spectralkv
