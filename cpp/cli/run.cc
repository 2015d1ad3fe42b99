// The command `run`: continues a text, answers one message, or chats.
#include <chrono>

#include "cli/chat_loop.h"
#include "cli/chat_template.h"
#include "cli/commands.h"
#include "cli/peer_rows.h"
#include "cli/sampling_rows.h"
#include "cli/summary.h"
#include "cli/text_loop.h"
#include "engine/cache_check.h"
#include "engine/sampler.h"
#include "kv/cache.h"

namespace spectralkv {
namespace {

class Run {
 public:
  // elsewhere: the command that runs any chat template, where the hooks do not; empty: they do.
  Run(const RunOptions& options, const CliHooks& hooks, const std::string& elsewhere)
      : options_(options),
        hooks_(hooks),
        elsewhere_(elsewhere),
        log_(options.log),
        prompt_cache_(options.prompt_cache, options.prompt_cache_all, options.prompt_cache_ro),
        start_(std::chrono::steady_clock::now()),
        engine_(open_engine(model_path(options.model, hooks), options.model, hooks, Log(options.log))),
        session_(engine_, settled_session(options.model, engine_)),
        load_s_(seconds()) {}

  int run() {
    // Complaints about sampling and grammar come before any work.
    Sampler(options_.sampling, engine_.tokenizer().n_vocab(), &engine_.tokenizer());
    if (!options_.grammar_option.empty()) generate_options(options_, hooks_, engine_.tokenizer());
    log_opening();
    prompt_cache_.load(session_, log_);
    int status = 0;
    try {
      status = choose();
    } catch (const Error& e) {
      if (e.kind() != ErrorKind::interrupted) throw;
      status = kInterruptedStatus;
    }
    prompt_cache_.save_all(session_, log_);
    log_.info(run_summary(session_, load_s_, seconds() - load_s_));
    return status;
  }

 private:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

  void log_opening() const {
    log_.info("model: ", engine_.description());
    log_.info(cache_opening(session_));
    if (const std::string warning = cache_warning(engine_, session_.cache().format()); !warning.empty())
      log_.info("warning: ", warning);
    if (const std::string lossy = lossy_opening(session_); !lossy.empty()) log_.info(lossy);
    if (const std::string warning = threads_warning(options_.model.engine.n_threads); !warning.empty())
      log_.info("warning: ", warning);
    if (const std::string& warning = engine_.tokenizer().vocab().warning; !warning.empty())
      log_.info("warning: ", warning);
    if (session_.n_ctx() > engine_.config().context_length)
      log_.info("warning: the model was trained for ", engine_.config().context_length, " tokens of context");
    if (const std::string note = ignored_note(options_.model.ignored); !note.empty()) log_.info(note);
    log_.info(sampling_line(options_.sampling));
  }

  int choose() {
    std::string source = options_.chat_template;
    if (source.empty()) source = engine_.chat_template();
    if (const std::string builtin = builtin_template_source(source); !builtin.empty()) source = builtin;
    if (options_.chat == ChatMode::off || (options_.chat == ChatMode::automatic && source.empty())) {
      if (options_.system_given) throw UsageError("-sys needs a chat, but the model has no chat template");
      return TextLoop(session_, options_, hooks_, prompt_cache_, log_).run();
    }
    if (source.empty())
      throw UsageError(
          "the model has no chat template: choose one with --chat-template, or continue plain text with "
          "--no-conversation");
    if (!elsewhere_.empty()) check_chat_builtin(source, elsewhere_);
    Conversation chat(session_, hooks_.format_chat, source,
                      options_.system_given ? &options_.system_prompt : nullptr,
                      options_.context_shift != ContextShift::off, options_.parse_special);
    ChatLoop loop(session_, chat, options_, hooks_, prompt_cache_, log_);
    const bool goes_on = options_.chat == ChatMode::on || options_.interactive || !options_.prompt_given;
    if (goes_on && !(options_.single_turn && options_.prompt_given))
      return loop.run(options_.prompt_given ? &options_.prompt : nullptr);
    return loop.turn(options_.prompt).reason == FinishReason::cancelled ? kInterruptedStatus : 0;
  }

  const RunOptions& options_;
  const CliHooks& hooks_;
  std::string elsewhere_;
  Log log_;
  PromptCache prompt_cache_;
  std::chrono::steady_clock::time_point start_;
  Engine engine_;
  Session session_;
  double load_s_;
};

}  // namespace

std::vector<Option> run_options() {
  RunOptions options;
  return without_setters(run_rows(options));
}

int run_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  RunOptions options;
  if (gave_help(
          hooks, "run", "-m MODEL [-p TEXT] [OPTIONS]",
          "With -p: answers the text as one message where the model has a chat template, else continues it.\n"
          "Without a prompt, or with -cnv: a chat, a message a line. With -no-cnv, and where the model has "
          "no\n"
          "chat template: continues the text as it is; without a prompt, what comes through a pipe.\n"
          "The text goes to standard output, the log to standard error. Options have llama.cpp's names; "
          "`help "
          "llama.cpp`\nlists which of them are the same, differ or are not there.",
          run_rows(options), args))
    return 0;
  parse_run(args, options);
  if (!options.grammar_option.empty() && !hooks.constrain)
    throw UsageError(concat(options.grammar_option,
                            " needs the Python package: ", python_command("grammar", "run", args)));
  if (hooks.format_chat) return Run(options, hooks, "").run();
  const std::string elsewhere = python_command("", "run", args);
  CliHooks builtin = hooks;
  builtin.format_chat = [&elsewhere](const std::string& source, const std::vector<ChatMessage>& messages,
                                     bool add_generation_prompt, const std::string& bos,
                                     const std::string& eos) {
    return format_chat_builtin(source, messages, add_generation_prompt, bos, eos, elsewhere);
  };
  return Run(options, builtin, elsewhere).run();
}

}  // namespace spectralkv
