// Plain text that is continued, once or with more text from standard input in between.
#pragma once

#include <string>
#include <vector>

#include "cli/answer.h"
#include "cli/prompt_cache.h"
#include "cli/run_options.h"
#include "cli/streams.h"

namespace spectralkv {

class TextLoop {
 public:
  TextLoop(Session& session, const RunOptions& options, const CliHooks& hooks, PromptCache& prompt_cache,
           const Log& log);

  // Gives the exit status.
  int run();

 private:
  std::string prompt() const;
  void read(const std::vector<Token>& tokens);
  Answer generate();
  bool shift(const Answer& answer);
  bool read_line(const Answer& before);

  Session& session_;
  const RunOptions& options_;
  const CliHooks& hooks_;
  PromptCache& prompt_cache_;
  Log log_;
  LineReader lines_;
  std::size_t n_prompt_ = 0;  // tokens
};

}  // namespace spectralkv
