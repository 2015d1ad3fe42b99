// What `run` can be told.
#pragma once

#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "engine/sampling_options.h"

namespace spectralkv {

enum class ChatMode { automatic, on, off };
// What happens when the context is full: a chat goes on by default, a text does not.
enum class ContextShift { automatic, on, off };

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  bool prompt_given = false, prompt_typed = false;  // typed: by -p, so that escapes are read
  bool escape = true;
  std::int64_t n_predict = -1;
  std::int64_t seed = -1;
  SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string grammar_option, grammar;  // --grammar or --json-schema and its text; empty: none
  bool ignore_eos = false, special = false, display_prompt = true, parse_special = false;
  ContextShift context_shift = ContextShift::automatic;
  std::int64_t keep = 0;  // tokens of the prompt that a shift keeps; -1: all
  ChatMode chat = ChatMode::automatic;
  bool single_turn = false, multiline = false;
  bool interactive = false, interactive_first = false, in_prefix_bos = false;
  std::string in_prefix, in_suffix;
  std::string system_prompt, chat_template;  // the template's source
  bool system_given = false;
  std::string prompt_cache;  // a state file, or empty
  bool prompt_cache_all = false, prompt_cache_ro = false;
  LogLevel log = LogLevel::info;
};

// The rows write into `options`.
std::vector<Option> run_rows(RunOptions& options);

// A file, or standard input for "-", without the line break at its end.
std::string read_prompt_file(const std::string& path);

// Parses the arguments of `run` and checks what belongs together; reads the file of -f; reads escapes; draws
// the seed.
void parse_run(const std::vector<std::string>& args, RunOptions& options);

}  // namespace spectralkv
