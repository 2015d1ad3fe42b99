// The options of `run` as a table.
#include "cli/run_options.h"

#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "cli/chat_template.h"
#include "cli/streams.h"

namespace spectralkv {
namespace {

constexpr double kAnyNumber = std::numeric_limits<double>::max();

void set_prompt(RunOptions& options, const std::function<std::string()>& text) {
  if (options.prompt_given) throw UsageError("there is a prompt already");
  options.prompt = text();
  options.prompt_given = true;
}

void set_grammar(RunOptions& options, const char* option, const std::string& text) {
  if (!options.grammar_option.empty()) throw UsageError("only one grammar or JSON schema can be followed");
  options.grammar_option = option;
  options.grammar = text;
}

// The source of a builtin template, or the text itself where it can be one.
std::string template_source(const std::string& text) {
  if (const std::string builtin = builtin_template_source(text); !builtin.empty()) return builtin;
  if (text.find("{{") != std::string::npos || text.find("{%") != std::string::npos) return text;
  throw UsageError(concat("'", text, "' is none of chatml, llama3, mistral, and no Jinja source either"));
}

std::vector<Option> text_rows(RunOptions& o) {
  return {
      {{"-p", "--prompt"},
       "TEXT",
       "the text to continue, or the first message of a chat",
       [&o](const std::string& text) { set_prompt(o, [&] { return text; }); }},
      {{"-f", "--file"},
       "PATH",
       "a file with the prompt, \"-\" for standard input; a line break at its end is left out",
       [&o](const std::string& path) { set_prompt(o, [&] { return read_prompt_file(path); }); }},
      {{"-n", "--predict", "--n-predict"},
       "N",
       "tokens to generate at most; -1: until the model ends or the context is full (default)",
       set_int(o.n_predict, -1, std::numeric_limits<std::int64_t>::max())},
  };
}

std::vector<Option> sampling_rows(RunOptions& o) {
  SamplingOptions& s = o.sampling;
  return {
      {{"-s", "--seed"},
       "N",
       "seed of the draws; -1: a random one (default)",
       set_int(o.seed, -1, std::numeric_limits<std::int64_t>::max())},
      {{"--temp"},
       "T",
       concat("temperature; 0: always the most probable token (default: ", s.temperature, ")"),
       set_number(s.temperature, 0, kAnyNumber)},
      {{"--top-k"},
       "K",
       concat("draw from the K most probable tokens; 0: all (default: ", s.top_k, ")"),
       set_int(s.top_k, 0, std::numeric_limits<int>::max())},
      {{"--top-p"},
       "P",
       concat("draw from the fewest tokens that hold the probability P; 1: off (default: ", s.top_p, ")"),
       set_number(s.top_p, 0, 1)},
      {{"--min-p"},
       "P",
       concat("drop tokens under P times the best one's probability; 0: off (default: ", s.min_p, ")"),
       set_number(s.min_p, 0, 1)},
      {{"--repeat-penalty"},
       "X",
       concat("make recent tokens less likely; 1: off (default: ", s.repeat_penalty, ")"),
       set_number(s.repeat_penalty, 0.01, 100)},
      {{"--repeat-last-n"},
       "N",
       concat("tokens the penalty looks back at; 0: off, -1: all (default: ", s.repeat_last_n, ")"),
       set_int(s.repeat_last_n, -1, std::numeric_limits<int>::max())},
      {{"--logit-bias"},
       "TOKEN(+/-)BIAS",
       "add to a token's logit: 15043+1.5, 15043-inf; may be given several times",
       [&s](const std::string& text) { s.logit_bias.push_back(parse_logit_bias(text)); }},
      {{"-r", "--reverse-prompt", "--stop"},
       "TEXT",
       "end where this text would come; may be given several times",
       append_text(o.stop)},
      {{"--ignore-eos"}, "", "go on after an end-of-generation token", set_flag(o.ignore_eos)},
      {{"--special"}, "", "show control tokens", set_flag(o.special)},
  };
}

std::vector<Option> grammar_rows(RunOptions& o) {
  return {
      {{"--grammar"},
       "TEXT",
       "the answer follows this grammar, in GBNF or Lark (docs/constrained.md)",
       [&o](const std::string& text) { set_grammar(o, "--grammar", text); }},
      {{"--grammar-file"},
       "PATH",
       "the same, of a file",
       [&o](const std::string& path) { set_grammar(o, "--grammar", read_text_file(path)); }},
      {{"-j", "--json-schema"},
       "JSON",
       "the answer is JSON that follows this schema; {}: any",
       [&o](const std::string& text) { set_grammar(o, "--json-schema", text); }},
  };
}

std::vector<Option> chat_rows(RunOptions& o) {
  return {
      {{"-cnv", "--conversation"},
       "",
       "chat: messages from standard input, a line each (default without a prompt, for a model with a chat "
       "template)",
       [&o](const std::string&) { o.chat = ChatMode::on; }},
      {{"-no-cnv", "--no-conversation"},
       "",
       "no chat template: continue the prompt as it is",
       [&o](const std::string&) { o.chat = ChatMode::off; }},
      {{"-sys", "--system-prompt"},
       "TEXT",
       "the system message of a chat",
       [&o](const std::string& text) {
         o.system_prompt = text;
         o.system_given = true;
       }},
      {{"--chat-template"},
       "NAME|JINJA",
       "chatml, llama3, mistral or a template's source, in place of the model's",
       [&o](const std::string& text) { o.chat_template = template_source(text); }},
      {{"--parse-special"},
       "",
       "control tokens that are written in messages count as such (default: they are plain text)",
       set_flag(o.parse_special)},
      {{"--prompt-cache"},
       "PATH",
       "a state file: what it has in common with the prompt is not read again; saved when the prompt was "
       "read",
       set_path(o.prompt_cache)},
      {{"--no-display-prompt"},
       "",
       "do not print the prompt before its continuation",
       set_flag(o.display_prompt, false)},
      {{"-v", "--verbose"}, "", "log more", [&o](const std::string&) { o.log = LogLevel::detail; }},
      quiet_row(o.log),
  };
}

}  // namespace

std::pair<Token, float> parse_logit_bias(const std::string& text) {
  const std::size_t sign = text.find_first_of("+-");
  if (sign == std::string::npos || sign == 0)
    throw UsageError(concat("expected TOKEN+BIAS or TOKEN-BIAS, not '", text, "'"));
  const auto token =
      static_cast<Token>(parse_int(text.substr(0, sign), 0, std::numeric_limits<Token>::max()));
  const std::string bias = text.substr(sign);
  if (bias == "-inf") return {token, -std::numeric_limits<float>::infinity()};
  return {token, static_cast<float>(parse_number(bias, -1e30, 1e30))};
}

std::string read_prompt_file(const std::string& path) {
  std::string text = read_text_file(path);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<Option> run_rows(RunOptions& options) {
  std::vector<Option> rows = model_rows(options.model);
  append_rows(rows, text_rows(options));
  append_rows(rows, session_rows(options.model));
  append_rows(rows, sampling_rows(options));
  append_rows(rows, grammar_rows(options));
  append_rows(rows, chat_rows(options));
  return rows;
}

void parse_run(const std::vector<std::string>& args, RunOptions& options) {
  parse_args(run_rows(options), args);
  if (options.chat == ChatMode::off && options.system_given)
    throw UsageError("-sys needs a chat, but -no-cnv asks for none");
  if (options.chat == ChatMode::off && !options.chat_template.empty())
    throw UsageError("--chat-template needs a chat, but -no-cnv asks for none");
  for (const auto& text : options.stop)
    if (text.empty()) throw UsageError("option '-r': the text is empty");
  if (options.seed >= 0) {
    options.sampling.seed = static_cast<std::uint64_t>(options.seed);
  } else {
    std::random_device source;
    options.sampling.seed = source() & 0x7fffffffu;  // short enough to type again
  }
}

}  // namespace spectralkv
