// Prompt in, text out.
#include "cli/answer.h"

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/json.h"
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
  if (log.shows(LogLevel::detail)) {
    std::string list;
    for (const Token token : tokens)
      list += concat(list.empty() ? "" : " ", token, " ",
                     json_string(session.engine().tokenizer().piece(token, true)));
    log.detail("read: ", list);
  }
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

AnswerStream::AnswerStream(Session& session, GenerateOptions options, bool strip_space)
    : session_(session), options_(std::move(options)), at_start_(strip_space) {}

const Answer& AnswerStream::go_on() {
  GenerateOptions options = options_;
  const auto n_before = static_cast<std::int64_t>(answer_.tokens.size());
  if (n_before > 0) {
    if (options.max_tokens >= 0) options.max_tokens -= n_before;
    // A generation counts its draws from 0, and tells the mask of no token before its own.
    options.sampling.seed += static_cast<std::uint64_t>(n_before);
    if (options.allowed)
      options.allowed = [allowed = options_.allowed, before = answer_.tokens.back()](Token last) {
        return allowed(last < 0 ? before : last);
      };
  }
  Generation generation(session_, std::move(options));
  while (const auto token = generation.next()) {
    answer_.tokens.push_back(token->token);
    give(token->text);
    answer_.ended_by_token =
        session_.engine().tokenizer().is_end(token->token) && !options_.ignore_end_tokens;
  }
  give(generation.rest());
  answer_.reason = generation.reason();
  answer_.context_full = generation.context_full();
  return answer_;
}

void AnswerStream::give(const std::string& text) {
  if (text.empty()) return;
  answer_.text += text;
  const std::string_view shown = std::string_view(text).substr(at_start_ && text[0] == ' ' ? 1 : 0);
  at_start_ = false;
  if (shown.empty()) return;
  write_out(shown);
  last_ = shown.back();
}

void AnswerStream::end_line() const {
  if (last_ != '\n') write_out("\n");
}

void log_context_full(const Session& session, const Log& log) {
  log.info("the context of ", session.n_ctx(),
           " tokens is full; -c (--ctx-size) raises it (the model's own is ",
           session.engine().config().context_length, ")");
}

bool answers_start_with_space(const Tokenizer& tokenizer) {
  return tokenizer.vocab().model == "llama" && tokenizer.vocab().space_prefix != SpacePrefix::none;
}

}  // namespace spectralkv
