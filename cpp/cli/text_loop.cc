// The context's shift by reading again: what is sealed in a compressed cache cannot be moved to other places.
#include "cli/text_loop.h"

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "cli/chat_loop.h"
#include "cli/interrupt.h"

namespace spectralkv {

TextLoop::TextLoop(Session& session, const RunOptions& options, const CliHooks& hooks,
                   PromptCache& prompt_cache, const Log& log)
    : session_(session), options_(options), hooks_(hooks), prompt_cache_(prompt_cache), log_(log) {}

std::string TextLoop::prompt() const {
  const bool piped = !options_.prompt_given && !options_.interactive && !stdin_is_terminal();
  return piped ? read_prompt_file("-") : options_.prompt;
}

int TextLoop::run() {
  const std::string text = prompt();
  const std::vector<Token> tokens = session_.engine().tokenizer().encode_prompt(text, true);
  check(!tokens.empty() || options_.interactive, "cli",
        "the prompt is empty, and the model has no token that starts a text: give -p or -f");
  check_fits(tokens.size(), session_, "the prompt");
  log_.detail("prompt: ", tokens.size(), " tokens");
  if (options_.display_prompt) write_out(text);
  n_prompt_ = tokens.size();
  const auto kept = static_cast<std::size_t>(session_.keep_common(tokens));
  read_prompt(session_, std::span<const Token>(tokens).subspan(kept), log_);
  prompt_cache_.save(session_, log_);
  Answer answer;
  bool reads_first = options_.interactive_first || tokens.empty();
  for (;;) {
    if (!reads_first) answer = generate();
    reads_first = false;
    if (!options_.interactive || answer.context_full)
      return answer.reason == FinishReason::cancelled ? kInterruptedStatus : 0;
    if (!read_line(answer)) return InterruptGuard::interrupted() ? kInterruptedStatus : 0;
  }
}

Answer TextLoop::generate() {
  AnswerStream stream(session_, generate_options(options_, hooks_, session_.engine().tokenizer()), false);
  const Answer* answer = &stream.go_on();
  while (answer->context_full && shift(*answer)) answer = &stream.go_on();
  if (!options_.interactive || answer->context_full) stream.end_line();
  if (answer->context_full) log_context_full(session_, log_);
  return *answer;
}

// Half of the tokens behind those to keep go, as llama.cpp has it.
bool TextLoop::shift(const Answer& answer) {
  if (options_.context_shift != ContextShift::on) return false;
  const Vocab& vocab = session_.engine().tokenizer().vocab();
  std::vector<Token> tokens = session_.tokens();
  tokens.push_back(answer.tokens.back());
  std::size_t keep = n_prompt_;
  if (options_.keep >= 0) keep = std::min(keep, static_cast<std::size_t>(options_.keep));
  if (keep == 0 && vocab.add_bos && tokens.front() == vocab.bos) keep = 1;
  const std::size_t dropped = (tokens.size() - keep) / 2;
  if (dropped == 0) return false;
  const auto from = tokens.begin() + static_cast<std::ptrdiff_t>(keep);
  tokens.erase(from, from + static_cast<std::ptrdiff_t>(dropped));
  log_.info("the context of ", session_.n_ctx(), " tokens is full: ", dropped, " of them are dropped, ",
            tokens.size() - keep, " are read again");
  read(tokens);
  return true;
}

void TextLoop::read(const std::vector<Token>& tokens) {
  const auto common = static_cast<std::size_t>(session_.keep_common(tokens));
  read_prompt(session_, std::span<const Token>(tokens).subspan(common), log_);
}

// A line of the user's behind what was generated; false at the end of the input.
bool TextLoop::read_line(const Answer& before) {
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  std::vector<Token> tokens = session_.tokens();
  const auto add = [&](const std::string& text, bool special) {
    const std::vector<Token> more = tokenizer.encode(text, false, special);
    tokens.insert(tokens.end(), more.begin(), more.end());
  };
  if (!before.tokens.empty() && !before.ended_by_token) tokens.push_back(before.tokens.back());
  if (before.reason == FinishReason::stop && !options_.stop.empty()) {
    // The text that stopped it has been read but not shown; an end token is followed by the first of them.
    const std::string tail = tokenizer.decode(
        std::span<const Token>(before.tokens).last(std::min<std::size_t>(before.tokens.size(), 64)), true,
        false);
    const auto found = std::find_if(options_.stop.begin(), options_.stop.end(),
                                    [&](const auto& text) { return tail.find(text) != std::string::npos; });
    const bool came = !before.ended_by_token && found != options_.stop.end();
    if (!came) add(options_.stop.front(), true);
    write_out(came ? *found : options_.stop.front());
  }
  write_out(options_.in_prefix);
  if (stdin_is_terminal()) InterruptGuard::clear();  // it stopped the text; from a script it ends all
  const std::optional<std::string> line = lines_.next();
  if (!line) return false;
  if (options_.in_prefix_bos && tokenizer.vocab().bos >= 0) tokens.push_back(tokenizer.vocab().bos);
  add(options_.in_prefix, true);
  add(*line + "\n", false);
  add(options_.in_suffix, true);
  write_out(options_.in_suffix);
  check_fits(tokens.size(), session_, "the text");
  read(tokens);
  return true;
}

}  // namespace spectralkv
