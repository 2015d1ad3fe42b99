// A chat on standard input: messages and commands, a turn after the other.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/conversation.h"
#include "cli/prompt_cache.h"
#include "cli/run_options.h"
#include "cli/streams.h"

namespace spectralkv {

class ChatLoop {
 public:
  ChatLoop(Session& session, Conversation& chat, const RunOptions& options, const CliHooks& hooks,
           PromptCache& prompt_cache, const Log& log);

  // One message and its answer. Throws what is wrong with it.
  Answer turn(const std::string& message);
  // Messages until the input ends, the first of which may be there already; gives the exit status.
  int run(const std::string* first);

 private:
  std::optional<std::string> next_message();
  std::optional<std::string> next_line(const char* prompt);
  void tell_turn(const std::string& message);
  bool command(const std::string& line);  // false: end the chat

  Session& session_;
  Conversation& chat_;
  const RunOptions& options_;
  const CliHooks& hooks_;
  PromptCache& prompt_cache_;
  Log log_;
  LineReader lines_;
  bool terminal_;
  bool edited_;                // a hook reads the terminal
  std::uint64_t redrawn_ = 0;  // answers of /regen, each with a seed of its own
};

// How an answer is generated, as the options say; a grammar begins anew.
GenerateOptions generate_options(const RunOptions& options, const CliHooks& hooks,
                                 const Tokenizer& tokenizer);

constexpr int kInterruptedStatus = 130;

}  // namespace spectralkv
