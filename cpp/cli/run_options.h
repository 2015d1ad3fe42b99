// What `run` can be told.
#pragma once

#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "engine/sampler.h"

namespace spectralkv {

enum class ChatMode { automatic, on, off };

struct RunOptions {
  ModelOptions model;
  std::string prompt;
  bool prompt_given = false;
  std::int64_t n_predict = -1;
  std::int64_t seed = -1;
  SamplingOptions sampling;
  std::vector<std::string> stop;
  std::string grammar_option, grammar;  // --grammar or --json-schema and its text; empty: none
  bool ignore_eos = false, special = false, display_prompt = true, parse_special = false;
  ChatMode chat = ChatMode::automatic;
  std::string system_prompt, chat_template;  // the template's source
  bool system_given = false;
  std::string prompt_cache;  // a state file, or empty
  LogLevel log = LogLevel::info;
};

// The rows write into `options`.
std::vector<Option> run_rows(RunOptions& options);

// "15043+1.5", "15043-inf": a token id and what is added to its logit.
std::pair<Token, float> parse_logit_bias(const std::string& text);

// A file, or standard input for "-", without the line break at its end.
std::string read_prompt_file(const std::string& path);

// Parses the arguments of `run` and checks what belongs together; reads the file of -f; draws the seed.
void parse_run(const std::vector<std::string>& args, RunOptions& options);

}  // namespace spectralkv
