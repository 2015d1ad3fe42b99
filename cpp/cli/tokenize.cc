// The command `tokenize`: the tokens of a text.
#include "cli/commands.h"
#include "cli/json.h"
#include "cli/log.h"
#include "cli/model_options.h"
#include "cli/streams.h"
#include "cli/text_encoding.h"
#include "engine/vocab.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {
namespace {

struct TokenizeOptions {
  ModelOptions model;
  std::string text;
  bool text_given = false, typed = false;
  bool escape = true, ids_only = false, json = false, count = false, add_bos = true, parse_special = true;
  LogLevel log = LogLevel::info;
};

std::vector<Option> rows_of(TokenizeOptions& o) {
  const auto set_input = [&o](const std::string& text, bool is_path) {
    if (o.text_given) throw UsageError("there is a text already");
    o.text = is_path ? read_text_file(text) : text;
    o.typed = !is_path;
    o.text_given = true;
  };
  std::vector<Option> rows = source_rows(o.model, "the GGUF file; its weights are not read");
  append_rows(rows,
              {
                  {{"-p", "--prompt"},
                   "TEXT",
                   "the text; \\n and the like in it are escapes",
                   [set_input](const std::string& text) { set_input(text, false); }},
                  {{"-f", "--file"},
                   "PATH",
                   "a file with the text, taken whole (default: standard input)",
                   [set_input](const std::string& path) { set_input(path, true); }},
                  {{"--stdin"},
                   "",
                   "take standard input, whole",
                   [set_input](const std::string&) { set_input("-", true); }},
                  {{"--no-escape"}, "", "take the text of -p as it is", set_flag(o.escape, false)},
                  {{"--ids"}, "", "print the ids alone, as a list", set_flag(o.ids_only)},
                  {{"--json"}, "", "print a JSON array of ids and pieces", set_flag(o.json)},
                  {{"--show-count"}, "", "print the number of tokens, too", set_flag(o.count)},
                  {{"--no-bos"}, "", "add no token that starts or ends a text", set_flag(o.add_bos, false)},
                  {{"--no-parse-special"},
                   "",
                   "take control tokens written in the text as plain text",
                   set_flag(o.parse_special, false)},
                  unknown_pre_row(o.model.engine),
                  quiet_row(o.log),
              });
  return rows;
}

std::string id_list(const std::vector<Token>& tokens) {
  std::string out;
  for (const Token token : tokens) out += (out.empty() ? "" : ", ") + std::to_string(token);
  return "[" + out + "]\n";
}

std::string as_json(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  JsonWriter out("[]");
  for (const Token token : tokens) {
    JsonWriter entry("{}");
    entry.add("id", std::int64_t{token});
    entry.add("piece", tokenizer.piece(token, true));
    out.push_raw(entry.compact());
  }
  return out.lines() + "\n";
}

std::string as_lines(const Tokenizer& tokenizer, const std::vector<Token>& tokens) {
  std::string out;
  for (const Token token : tokens) {
    out += concat(right(std::to_string(token), 6), " -> ", json_string(tokenizer.piece(token, true)), "\n");
  }
  return out;
}

}  // namespace

int tokenize_command(const std::vector<std::string>& args, const CliHooks& hooks) {
  TokenizeOptions options;
  const std::vector<Option> rows = rows_of(options);
  if (gave_help(hooks, "tokenize", "-m MODEL [-p TEXT | -f PATH] [OPTIONS]",
                "Shows the tokens of a text, a line each: the id and its piece as a JSON string.", rows,
                args))
    return 0;
  parse_args(rows, args);
  if (options.json && options.count)
    throw UsageError("--show-count belongs to lines and --ids, not to --json");
  const Gguf file(model_path(options.model, hooks), Gguf::Types::any);
  const Tokenizer tokenizer(read_vocab(file, options.model.engine.allow_unknown_pre));
  if (const std::string& warning = tokenizer.vocab().warning; !warning.empty())
    Log(options.log).info("warning: ", warning);
  if (!options.text_given) options.text = read_text_file("-");
  if (options.typed && options.escape) options.text = unescaped(options.text);
  const std::vector<Token> tokens = tokenizer.encode(options.text, options.add_bos, options.parse_special);
  if (options.json)
    write_out(as_json(tokenizer, tokens));
  else
    write_out(options.ids_only ? id_list(tokens) : as_lines(tokenizer, tokens));
  if (options.count) write_out(concat("Total number of tokens: ", tokens.size(), "\n"));
  return 0;
}

}  // namespace spectralkv
