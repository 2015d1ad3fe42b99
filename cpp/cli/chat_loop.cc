// What goes wrong with a message or a command alone does not end a chat on a terminal.
#include "cli/chat_loop.h"

#include <algorithm>
#include <cctype>
#include <cstdio>

#include "base/error.h"
#include "base/shown.h"
#include "cli/chat_file.h"
#include "cli/interrupt.h"

namespace spectralkv {
namespace {

constexpr const char* kHelp =
    "/help          this list\n"
    "/regen         another answer to the last message\n"
    "/undo          forget the last message and its answer\n"
    "/reset, /clear forget the chat, but for the system message\n"
    "/save PATH     write the chat to a file, as JSON\n"
    "/load PATH     go on from such a file\n"
    "/exit, /quit   end, as Ctrl-D does; Ctrl-C stops an answer\n"
    "A line that ends in \\ goes on in the next one; what is pasted is one message. // begins a message with "
    "/.";

// "/save x": a slash, letters, and then nothing or a space.
bool looks_like_command(const std::string& line) {
  if (line.size() < 2 || line[0] != '/') return false;
  const auto end = std::find(line.begin(), line.end(), ' ');
  return std::all_of(line.begin() + 1, end, [](unsigned char c) { return std::isalpha(c) != 0; });
}

}  // namespace

GenerateOptions generate_options(const RunOptions& options, const CliHooks& hooks,
                                 const Tokenizer& tokenizer) {
  GenerateOptions generate;
  generate.sampling = options.sampling;
  generate.max_tokens = options.n_predict;
  generate.stop = options.stop;
  generate.ignore_end_tokens = options.ignore_eos;
  generate.render_special = options.special;
  generate.cancelled = InterruptGuard::interrupted;
  if (!options.grammar_option.empty())
    generate.allowed = hooks.constrain(options.grammar_option, options.grammar, tokenizer);
  return generate;
}

ChatLoop::ChatLoop(Session& session, Conversation& chat, const RunOptions& options, const CliHooks& hooks,
                   PromptCache& prompt_cache, const Log& log)
    : session_(session),
      chat_(chat),
      options_(options),
      hooks_(hooks),
      prompt_cache_(prompt_cache),
      log_(log),
      terminal_(stdin_is_terminal()),
      edited_(terminal_ && hooks.read_message) {}

Answer ChatLoop::turn(const std::string& message) {
  chat_.ask(message, log_);
  prompt_cache_.save(session_, log_);
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  GenerateOptions generate = generate_options(options_, hooks_, tokenizer);
  generate.sampling.seed += redrawn_;
  AnswerStream stream(session_, std::move(generate), answers_start_with_space(tokenizer));
  const Answer* answer = &stream.go_on();
  while (answer->context_full && chat_.make_room(answer->tokens, log_)) answer = &stream.go_on();
  stream.end_line();
  if (answer->context_full) log_context_full(session_, log_);
  chat_.add_answer(*answer);
  return *answer;
}

void ChatLoop::tell_turn(const std::string& message) {
  try {
    turn(message);
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::interrupted) return;
    if (e.kind() != ErrorKind::value || !terminal_) throw;
    std::fputs(concat("error: ", shown(e.what()), "; /reset forgets the chat\n").c_str(), stderr);
  }
}

int ChatLoop::run(const std::string* first) {
  if (terminal_)
    log_.info("chat: a message a line; /help lists the commands, Ctrl-D ends, Ctrl-C stops an answer");
  if (first != nullptr) tell_turn(*first);
  for (;;) {
    if (terminal_) InterruptGuard::clear();  // it stopped the answer; from a script it ends the chat
    if (InterruptGuard::interrupted()) return kInterruptedStatus;
    const std::optional<std::string> message = next_message();
    if (!message) {
      if (terminal_ && !edited_) std::fputs("\n", stderr);
      return InterruptGuard::interrupted() ? kInterruptedStatus : 0;
    }
    if (looks_like_command(*message)) {
      if (!command(*message)) return 0;
    } else if (message->find_first_not_of(" \t\n") != std::string::npos) {
      tell_turn(message->starts_with("//") ? message->substr(1) : *message);
      if (options_.single_turn) return InterruptGuard::interrupted() ? kInterruptedStatus : 0;
    }
  }
}

std::optional<std::string> ChatLoop::next_line(const char* prompt) {
  if (edited_) return hooks_.read_message(prompt);
  if (terminal_) std::fputs(prompt, stderr);
  return lines_.next();
}

// A line, and those that belong to it.
std::optional<std::string> ChatLoop::next_message() {
  constexpr int kPasteMs = 30;  // what is pasted comes at once, what is typed does not
  std::optional<std::string> line = next_line("> ");
  if (!line || looks_like_command(*line)) return line;
  std::string message;
  for (;;) {
    const bool marked = line->ends_with('\\');
    if (marked) line->pop_back();
    message += *line;
    const bool goes_on =
        options_.multiline ? !marked : marked || (terminal_ && !edited_ && lines_.waiting(kPasteMs));
    if (!goes_on) return message;
    line = next_line("");
    if (!line) return InterruptGuard::interrupted() ? std::nullopt : std::optional(message);
    message += '\n';
  }
}

bool ChatLoop::command(const std::string& line) {
  const std::size_t space = std::min(line.find(' '), line.size());
  const std::string name = line.substr(1, space - 1);
  const std::size_t start = line.find_first_not_of(' ', space);
  const std::string rest = start == std::string::npos ? "" : line.substr(start);
  const bool takes_path = name == "save" || name == "load";
  try {
    if (name == "exit" || name == "quit") return false;
    if (takes_path)
      check(!rest.empty(), "cli", "/", name, " needs the path of a file");
    else
      check(rest.empty(), "cli", "/", name, " takes nothing behind it; // begins a message with /");
    if (name == "reset" || name == "clear") {
      chat_.reset();
      log_.info("the chat is forgotten");
    } else if (name == "undo") {
      log_.info(chat_.take_back() ? "the last message and its answer are forgotten" : "there is no message");
    } else if (name == "regen") {
      const auto message = chat_.take_back();
      check(message.has_value(), "cli", "there is no message to answer again");
      ++redrawn_;
      tell_turn(*message);
    } else if (name == "save") {
      save_chat(rest, chat_.messages());
      log_.info(chat_.messages().size(), " messages are in '", rest, "'");
    } else if (name == "load") {
      chat_.replace(load_chat(rest));
      log_.info(chat_.messages().size(), " messages from '", rest, "'");
    } else {
      check(name == "help", "cli", "/", name, " is no command: /help lists them; // begins a message with /");
      log_.info(kHelp);
    }
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::interrupted || !terminal_) throw;
    std::fputs(concat("error: ", shown(e.what()), "\n").c_str(), stderr);
  }
  return true;
}

}  // namespace spectralkv
