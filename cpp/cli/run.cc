// The command `run`: continues a text, answers one message, or chats.
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "base/shown.h"
#include "cli/answer.h"
#include "cli/chat_template.h"
#include "cli/commands.h"
#include "cli/conversation.h"
#include "cli/interrupt.h"
#include "cli/run_options.h"
#include "cli/streams.h"
#include "cli/summary.h"
#include "engine/cache_check.h"
#include "kv/cache.h"
#include "kv/state_file.h"

namespace spectralkv {
namespace {

constexpr int kInterrupted = 130;

// The state file of --prompt-cache.
class PromptCache {
 public:
  // path: a state file that there is or that is to be; "" for none. An os error when there is none and none
  // can be written: before the work, not behind it.
  explicit PromptCache(std::string path);

  // Lets the session go on from the file, where there is one.
  void load(Session& session, const Log& log) const;
  // Once, behind the first prompt, unless the file held all of it or cannot be written.
  void save(const Session& session, const Log& log);

 private:
  std::string path_;
  std::string read_only_;  // why it cannot be written
  bool saved_ = false;
};

PromptCache::PromptCache(std::string path) : path_(std::move(path)) {
  if (path_.empty()) return;
  std::error_code unknown;  // then it is as good as absent, and the trial says why
  const bool exists = std::filesystem::exists(path_, unknown);
  if (std::filesystem::is_directory(path_, unknown))
    fail(ErrorKind::os, "cli", "--prompt-cache: '", path_, "' is a folder");
  if (exists && !std::filesystem::is_regular_file(path_, unknown))  // a pipe would be waited for
    fail(ErrorKind::os, "cli", "--prompt-cache: '", path_, "' is no regular file");
  try {
    const StateWriter trial(path_);  // gone again when it is not committed
  } catch (const Error& e) {
    if (!exists) throw;
    read_only_ = e.what();
  }
}

void PromptCache::load(Session& session, const Log& log) const {
  if (path_.empty() || !std::filesystem::exists(path_)) return;
  session.load_state(path_);
  log.info("prompt cache: ", session.tokens().size(), " tokens from '", path_, "'");
  if (!read_only_.empty()) log.info("prompt cache: it will not be renewed: ", read_only_);
}

void PromptCache::save(const Session& session, const Log& log) {
  if (path_.empty() || !read_only_.empty() || std::exchange(saved_, true)) return;
  if (session.timings().prompt_tokens == 0) return;
  session.save_state(path_);
  log.detail("prompt cache: ", session.tokens().size(), " tokens to '", path_, "'");
}

class Run {
 public:
  Run(const RunOptions& options, const CliHooks& hooks)
      : options_(options),
        hooks_(hooks),
        log_(options.log),
        prompt_cache_(options.prompt_cache),
        start_(std::chrono::steady_clock::now()),
        engine_(model_path(options.model, hooks), engine_options(options.model, hooks, Log(options.log))),
        session_(engine_, settled_session(options.model, engine_.config())),
        load_s_(seconds()) {}

  int run() {
    Sampler(options_.sampling, engine_.tokenizer().n_vocab());  // its complaints come before any work
    if (!options_.grammar_option.empty()) generate_options();   // as do those about a grammar
    log_opening();
    prompt_cache_.load(session_, log_);
    int status = 0;
    try {
      status = choose();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::interrupted) throw;
      status = kInterrupted;
    }
    log_.info(run_summary(session_.cache_report(), session_.timings(), load_s_, seconds() - load_s_));
    return status;
  }

 private:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  void log_opening() const {
    const SamplingOptions& s = options_.sampling;
    log_.info("model: ", engine_.description());
    log_.info(cache_opening(session_));
    if (const std::string warning = cache_warning(engine_, session_.cache().format()); !warning.empty())
      log_.info("warning: ", warning);
    if (const std::string warning = threads_warning(options_.model.engine.n_threads); !warning.empty())
      log_.info("warning: ", warning);
    if (const std::string& warning = engine_.tokenizer().vocab().warning; !warning.empty())
      log_.info("warning: ", warning);
    if (session_.n_ctx() > engine_.config().context_length)
      log_.info("warning: the model was trained for ", engine_.config().context_length, " tokens of context");
    if (s.temperature > 0)
      log_.info("sampling: seed ", s.seed, ", temp ", s.temperature, ", top-k ", s.top_k, ", top-p ", s.top_p,
                ", min-p ", s.min_p, ", repeat penalty ", s.repeat_penalty);
    else
      log_.info("sampling: greedy");
  }

  int choose() {
    std::string source = options_.chat_template;
    if (source.empty()) source = engine_.chat_template();
    if (const std::string builtin = builtin_template_source(source); !builtin.empty()) source = builtin;
    if (options_.chat == ChatMode::off || (options_.chat == ChatMode::automatic && source.empty())) {
      if (options_.system_given) throw UsageError("-sys needs a chat, but the model has no chat template");
      return continue_text();
    }
    if (source.empty())
      throw UsageError(
          "the model has no chat template: choose one with --chat-template, or continue plain text with "
          "--no-conversation");
    Conversation chat(session_, hooks_.format_chat, source,
                      options_.system_given ? &options_.system_prompt : nullptr, options_.parse_special);
    if (options_.chat == ChatMode::on || !options_.prompt_given) return converse(chat);
    chat.ask(options_.prompt, log_);
    prompt_cache_.save(session_, log_);
    const bool strips = answers_start_with_space(engine_.tokenizer());
    return stream_answer(session_, generate_options(), strips, log_).reason == FinishReason::cancelled
               ? kInterrupted
               : 0;
  }

  int continue_text() {
    const bool piped = !options_.prompt_given && !stdin_is_terminal();
    const std::string prompt = piped ? read_prompt_file("-") : options_.prompt;
    const std::vector<Token> tokens = engine_.tokenizer().encode_prompt(prompt, true);
    check(!tokens.empty(), "cli",
          "the prompt is empty, and the model has no token that starts a text: give -p or -f");
    check_fits(tokens.size(), session_, "the prompt");
    log_.detail("prompt: ", tokens.size(), " tokens");
    if (options_.display_prompt) write_out(prompt);
    const auto kept = static_cast<std::size_t>(session_.keep_common(tokens));
    read_prompt(session_, std::span<const Token>(tokens).subspan(kept), log_);
    prompt_cache_.save(session_, log_);
    return stream_answer(session_, generate_options(), false, log_).reason == FinishReason::cancelled
               ? kInterrupted
               : 0;
  }

  int converse(Conversation& chat) {
    const bool terminal = stdin_is_terminal();
    if (terminal)
      log_.info(
          "chat: a message a line; /reset forgets the chat, /exit or Ctrl-D ends, Ctrl-C stops an answer");
    if (options_.prompt_given) turn(chat, options_.prompt);
    LineReader lines;
    for (;;) {
      if (terminal) InterruptGuard::clear();  // it stopped the answer; from a script it ends the chat
      if (InterruptGuard::interrupted()) return kInterrupted;
      if (terminal) std::fputs("> ", stderr);
      const std::optional<std::string> line = lines.next();
      if (!line) {
        if (terminal) std::fputs("\n", stderr);
        return InterruptGuard::interrupted() ? kInterrupted : 0;
      }
      if (*line == "/exit") return 0;
      if (*line == "/reset") {
        chat.reset();
        log_.info("the chat is forgotten");
      } else if (line->find_first_not_of(" \t") != std::string::npos) {
        turn(chat, *line);
      }
    }
  }

  // A message and its answer; what goes wrong with the message alone does not end the chat.
  void turn(Conversation& chat, const std::string& message) {
    try {
      chat.ask(message, log_);
      prompt_cache_.save(session_, log_);
    } catch (const Error& e) {
      if (e.kind() == ErrorKind::interrupted) return;
      if (e.kind() != ErrorKind::value || !stdin_is_terminal()) throw;
      std::fputs(concat("error: ", shown(e.what()), "; /reset forgets the chat\n").c_str(), stderr);
      return;
    }
    const bool strips = answers_start_with_space(engine_.tokenizer());
    chat.add_answer(stream_answer(session_, generate_options(), strips, log_));
  }

  GenerateOptions generate_options() const {
    GenerateOptions generate;
    generate.sampling = options_.sampling;
    generate.max_tokens = options_.n_predict;
    generate.stop = options_.stop;
    generate.ignore_end_tokens = options_.ignore_eos;
    generate.render_special = options_.special;
    generate.cancelled = InterruptGuard::interrupted;
    if (!options_.grammar_option.empty())
      generate.allowed = hooks_.constrain(options_.grammar_option, options_.grammar, engine_.tokenizer());
    return generate;
  }

  const RunOptions& options_;
  const CliHooks& hooks_;
  Log log_;
  PromptCache prompt_cache_;
  std::chrono::steady_clock::time_point start_;
  Engine engine_;
  Session session_;
  double load_s_;
};

}  // namespace

int run_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  RunOptions options;
  if (gave_help(
          hooks, "run", "-m MODEL [-p TEXT] [OPTIONS]",
          "With -p: answers the text as one message where the model has a chat template, else continues it.\n"
          "Without a prompt, or with -cnv: a chat, a message a line. With -no-cnv, and where the model has "
          "no\n"
          "chat template: continues the text as it is; without a prompt, what comes through a pipe.\n"
          "The text goes to standard output, the log to standard error.",
          run_rows(options), args))
    return 0;
  parse_run(args, options);
  if (!options.grammar_option.empty() && !hooks.constrain)
    throw UsageError(concat(options.grammar_option,
                            " needs the command of the Python package (pip install 'spectralkv[grammar]')"));
  return Run(options, hooks).run();
}

}  // namespace spectralkv
