// The options of `run` as a table.
#include "cli/run_options.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <random>

#include "base/error.h"
#include "cli/chat_template.h"
#include "cli/peer_rows.h"
#include "cli/sampling_rows.h"
#include "cli/streams.h"
#include "cli/text_encoding.h"

namespace spectralkv {
namespace {

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
       [&o](const std::string& text) {
         set_prompt(o, [&] { return text; });
         o.prompt_typed = true;
       },
       Peer::differs,
       "where the model has a chat template, -p without -cnv is one message and its answer"},
      {{"-f", "--file"},
       "PATH",
       "a file with the prompt, \"-\" for standard input; a line break at its end is left out",
       [&o](const std::string& path) { set_prompt(o, [&] { return read_prompt_file(path); }); },
       Peer::differs,
       "escapes in the file stay as they are"},
      {{"-bf", "--binary-file"},
       "PATH",
       "the same, every byte of the file",
       [&o](const std::string& path) { set_prompt(o, [&] { return read_text_file(path); }); }},
      {{"-e", "--escape"},
       "",
       "read \\n, \\r, \\t, \\', \\\", \\\\ and \\xHH in -p, -r, --in-prefix, --in-suffix and "
       "--dry-sequence-breaker (default)",
       set_flag(o.escape)},
      {{"--no-escape"}, "", "take those texts as they are", set_flag(o.escape, false)},
      {{"-n", "--predict", "--n-predict"},
       "N",
       "tokens to generate at most; -1 or -2: until the model ends or the context is full (default)",
       [&o](const std::string& text) {
         o.n_predict =
             std::max<std::int64_t>(parse_int(text, -2, std::numeric_limits<std::int64_t>::max()), -1);
       }},
      {{"--keep"},
       "N",
       "tokens of the prompt that stay when --context-shift drops others; -1: all (default: 0)",
       set_int(o.keep, -1, std::int64_t{1} << 31)},
      {{"--context-shift"},
       "",
       "when the context is full, drop half of the tokens behind those of --keep and go on; the rest is read "
       "again",
       [&o](const std::string&) { o.context_shift = ContextShift::on; },
       Peer::differs,
       "what stays is read again at its new places: a compressed cache cannot be moved; a chat drops its "
       "oldest "
       "turns, and does so by default"},
      {{"--no-context-shift"},
       "",
       "end when the context is full, also in a chat, whose oldest turns go by default",
       [&o](const std::string&) { o.context_shift = ContextShift::off; }},
      {{"-s", "--seed"},
       "N",
       "seed of the draws; -1: a random one (default)",
       set_int(o.seed, -1, std::numeric_limits<std::int64_t>::max()),
       Peer::differs,
       "other numbers come of a seed than llama.cpp's"},
  };
}

std::vector<Option> answer_rows(RunOptions& o) {
  return {
      {{"-r", "--reverse-prompt", "--stop"},
       "TEXT",
       "end where this text would come; may be given several times",
       append_text(o.stop),
       Peer::differs,
       "the text itself is not shown"},
      {{"--ignore-eos"}, "", "go on after an end-of-generation token", set_flag(o.ignore_eos)},
      {{"-sp", "--special"}, "", "show control tokens", set_flag(o.special)},
  };
}

constexpr const char* kOfPython = "the Python package alone";

std::vector<Option> grammar_rows(RunOptions& o) {
  return {
      {{"--grammar"},
       "TEXT",
       "the answer follows this grammar, in GBNF or Lark (docs/constrained.md)",
       [&o](const std::string& text) { set_grammar(o, "--grammar", text); },
       Peer::differs,
       kOfPython},
      {{"--grammar-file"},
       "PATH",
       "the same, of a file",
       [&o](const std::string& path) { set_grammar(o, "--grammar", read_text_file(path)); },
       Peer::differs,
       kOfPython},
      {{"-j", "--json-schema"},
       "JSON",
       "the answer is JSON that follows this schema; {}: any",
       [&o](const std::string& text) { set_grammar(o, "--json-schema", text); },
       Peer::differs,
       kOfPython},
      {{"-jf", "--json-schema-file"},
       "PATH",
       "the same, of a file",
       [&o](const std::string& path) { set_grammar(o, "--json-schema", read_text_file(path)); },
       Peer::differs,
       kOfPython},
  };
}

std::vector<Option> chat_rows(RunOptions& o) {
  const auto set_system = [&o](const std::string& text) {
    o.system_prompt = text;
    o.system_given = true;
  };
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
      {{"-st", "--single-turn"}, "", "one message and its answer", set_flag(o.single_turn)},
      {{"-sys", "--system-prompt"}, "TEXT", "the system message of a chat", set_system},
      {{"-sysf", "--system-prompt-file"},
       "PATH",
       "the same, of a file",
       [set_system](const std::string& path) { set_system(read_prompt_file(path)); }},
      {{"--chat-template"},
       "NAME|JINJA",
       "chatml, llama3, mistral or a template's source, in place of the model's",
       [&o](const std::string& text) { o.chat_template = template_source(text); },
       Peer::differs,
       "three names; the binary knows sources of those families, the Python package all"},
      {{"--chat-template-file"},
       "PATH",
       "the same, of a file",
       [&o](const std::string& path) { o.chat_template = template_source(read_text_file(path)); },
       Peer::differs,
       "as --chat-template"},
      {{"-mli", "--multiline-input"},
       "",
       "a message has several lines and ends with one that ends in \\; without this, such a line goes on",
       set_flag(o.multiline)},
      {{"-i", "--interactive"},
       "",
       "without a chat template: read more text, a line at a time, when a text of -r has come or the model "
       "ends",
       set_flag(o.interactive)},
      {{"-if", "--interactive-first"},
       "",
       "the same, and read a line before anything else",
       [&o](const std::string&) { o.interactive = o.interactive_first = true; }},
      {{"--in-prefix"},
       "TEXT",
       "what comes before each text that is read; there is no chat template then",
       [&o](const std::string& text) {
         o.in_prefix = text;
         o.chat = ChatMode::off;
       }},
      {{"--in-suffix"},
       "TEXT",
       "what comes behind it; there is no chat template then",
       [&o](const std::string& text) {
         o.in_suffix = text;
         o.chat = ChatMode::off;
       }},
      {{"--in-prefix-bos"}, "", "BOS before --in-prefix", set_flag(o.in_prefix_bos)},
      {{"--parse-special"},
       "",
       "control tokens that are written in messages count as such (default: they are plain text)",
       set_flag(o.parse_special),
       Peer::ours},
      {{"--prompt-cache"},
       "PATH",
       "a state file: what it has in common with the prompt is not read again; saved when the prompt was "
       "read",
       set_path(o.prompt_cache)},
      {{"--prompt-cache-all"},
       "",
       "save it at the end, with what was generated",
       set_flag(o.prompt_cache_all)},
      {{"--prompt-cache-ro"}, "", "do not save it", set_flag(o.prompt_cache_ro)},
      {{"--display-prompt"},
       "",
       "print the prompt before its continuation (default)",
       set_flag(o.display_prompt)},
      {{"--no-display-prompt"},
       "",
       "do not print the prompt before its continuation",
       set_flag(o.display_prompt, false)},
      {{"-v", "--verbose", "--log-verbose", "--verbose-prompt"},
       "",
       "log more, among it the tokens that are read",
       [&o](const std::string&) { o.log = LogLevel::detail; }},
      {{"-lv", "--verbosity", "--log-verbosity"},
       "N",
       "0 and 1: log nothing but errors, 2 and 3: the usual, more: all",
       [&o](const std::string& text) {
         const std::int64_t level = parse_int(text, 0, 100);
         o.log = level < 2 ? LogLevel::off : level < 4 ? LogLevel::info : LogLevel::detail;
       }},
      quiet_row(o.log),
  };
}

void process_escapes(RunOptions& o) {
  if (o.prompt_typed) o.prompt = unescaped(o.prompt);
  o.in_prefix = unescaped(o.in_prefix);
  o.in_suffix = unescaped(o.in_suffix);
  for (std::string& text : o.stop) text = unescaped(text);
  for (std::string& text : o.sampling.dry_sequence_breakers) text = unescaped(text);
}

}  // namespace

std::string read_prompt_file(const std::string& path) {
  std::string text = read_text_file(path);
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

std::vector<Option> run_rows(RunOptions& options) {
  std::vector<Option> rows = model_rows(options.model);
  append_rows(rows, text_rows(options));
  append_rows(rows, session_rows(options.model));
  append_rows(rows, sampling_rows(options.sampling));
  append_rows(rows, answer_rows(options));
  append_rows(rows, grammar_rows(options));
  append_rows(rows, chat_rows(options));
  append_rows(rows, override_rows(options.model.overrides));
  append_rows(rows, common_peer_rows(options.model.ignored));
  append_rows(rows, run_peer_rows(options.model.ignored));
  return rows;
}

void parse_run(const std::vector<std::string>& args, RunOptions& options) {
  parse_args(run_rows(options), args);
  if (options.escape) process_escapes(options);
  if (options.chat == ChatMode::off && options.system_given)
    throw UsageError("-sys needs a chat, but -no-cnv, --in-prefix or --in-suffix ask for none");
  if (options.chat == ChatMode::off && !options.chat_template.empty())
    throw UsageError("--chat-template needs a chat, but -no-cnv, --in-prefix or --in-suffix ask for none");
  for (const auto& text : options.stop)
    if (text.empty()) throw UsageError("option '-r': the text is empty");
  for (const bool all : {options.prompt_cache_all, options.prompt_cache_ro})
    if (all && options.prompt_cache.empty()) throw UsageError("there is no --prompt-cache to keep");
  try {
    check_sampling(options.sampling);
  } catch (const Error& e) {
    throw UsageError(e.what());
  }
  if (options.seed >= 0) {
    options.sampling.seed = static_cast<std::uint64_t>(options.seed);
  } else {
    std::random_device source;
    options.sampling.seed = source() & 0x7fffffffu;  // short enough to type again
  }
}

}  // namespace spectralkv
