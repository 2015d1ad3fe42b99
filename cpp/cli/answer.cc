// Prompt in, text out.
#include "cli/answer.h"

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/streams.h"

namespace spectralkv {

void check_fits(std::size_t n_tokens, const Session& session, const char* what) {
  const std::int64_t trained = session.engine().config().context_length;
  check(static_cast<std::int64_t>(n_tokens) <= session.n_ctx(), "cli", what, " has ", n_tokens,
        " tokens, but the context holds ", session.n_ctx(),
        "; -c (--ctx-size) raises it (the model's own is ", trained, ")");
}

void read_prompt(Session& session, std::span<const Token> tokens, const Log& log) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  const auto held = static_cast<std::int64_t>(session.tokens().size());
  const bool counts = n > session.options().n_batch;
  const auto between = [&] {
    if (counts) log.progress("prompt", static_cast<std::int64_t>(session.tokens().size()) - held, n);
    return InterruptGuard::interrupted();
  };
  try {
    session.eval(tokens, between);
  } catch (...) {
    if (counts) log.progress("prompt", n, n);
    throw;
  }
  if (counts) log.progress("prompt", n, n);
}

Answer stream_answer(Session& session, const GenerateOptions& options, bool strip_space, const Log& log) {
  Answer answer;
  bool at_start = strip_space;
  char last = '\n';
  const auto give = [&](const std::string& text) {
    if (text.empty()) return;
    answer.text += text;
    const std::string_view shown = std::string_view(text).substr(at_start && text[0] == ' ' ? 1 : 0);
    at_start = false;
    if (shown.empty()) return;
    write_out(shown);
    last = shown.back();
  };
  Generation generation(session, options);
  while (const auto token = generation.next()) {
    give(token->text);
    answer.ended_by_token = session.engine().tokenizer().is_end(token->token) && !options.ignore_end_tokens;
  }
  give(generation.rest());
  if (last != '\n') write_out("\n");
  answer.reason = generation.reason();
  if (generation.context_full())
    log.info("the context of ", session.n_ctx(),
             " tokens is full; -c (--ctx-size) raises it (the model's own is ",
             session.engine().config().context_length, ")");
  return answer;
}

bool answers_start_with_space(const Tokenizer& tokenizer) {
  return tokenizer.vocab().model == "llama" && tokenizer.vocab().space_prefix != SpacePrefix::none;
}

}  // namespace spectralkv
