// Dispatch of subcommands, the general help, and what errors become.
#include "cli/cli.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "base/shown.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/peer_table.h"
#include "cli/streams.h"

namespace spectralkv {
namespace {

constexpr std::array kCommands = {
    CommandRow{"run", "continue a text, answer a question, or chat", run_command},
    CommandRow{"inspect", "show what a GGUF file holds", inspect_command},
    CommandRow{"perplexity", "measure how well a text is predicted, and what the cache costs",
               perplexity_command},
    CommandRow{"fidelity", "measure what a cache type does to keys, values and attention, layer by layer",
               fidelity_command},
    CommandRow{"calibrate", "take down what a model's heads are like, for its compressed cache",
               calibrate_command},
    CommandRow{"bench", "measure tokens per second by depth and cache type", bench_command},
    CommandRow{"tokenize", "show the tokens of a text", tokenize_command},
};

const CommandRow* find_command(const std::string& name) {
  for (const auto& row : kCommands)
    if (name == row.name) return &row;
  return nullptr;
}

std::string general_help(const CliHooks& hooks) {
  std::string out = "usage: " + hooks.program + " COMMAND [OPTIONS]\n\n";
  out += "Runs models of the Llama kind from GGUF files with a compressed KV cache.\n\ncommands:\n";
  const auto line = [&](std::string name, const std::string& summary) {
    name.resize(std::max<std::size_t>(name.size() + 2, 14), ' ');
    out += "  " + name + summary + "\n";
  };
  for (const auto& row : kCommands) line(row.name, row.summary);
  for (const auto& [name, summary] : hooks.more_commands) line(name, summary);
  line("help", "this help, or that of a command: " + hooks.program +
                   " help run; help llama.cpp: whose options are here");
  out += "\noptions:\n";
  line("-h, --help", "this help; behind a command, the command's");
  line("--version", "the version");
  return out;
}

// Commands that are Python, and the extras of the package that they need.
constexpr std::array kPython = {std::pair{"serve", "serve"}, std::pair{"eval", "eval"}, std::pair{"pull", ""},
                                std::pair{"convert", ""}, std::pair{"quantize", ""}};

[[noreturn]] void fail_unknown_command(const std::string& name, const std::vector<std::string>& rest,
                                       const CliHooks& hooks) {
  for (const auto& [command, extra] : kPython)
    if (name == command)
      throw UsageError(concat("'", name, "' is in the Python package: ", python_command(extra, name, rest)));
  std::vector<std::string> known{"help"};
  for (const auto& row : kCommands) known.emplace_back(row.name);
  for (const auto& more : hooks.more_commands) known.push_back(more.first);
  const std::string nearest = nearest_word(name, known);
  const bool option = !name.empty() && name[0] == '-';
  throw UsageError(concat(option ? "expected a command before '" : "unknown command '", name, "'",
                          nearest.empty() ? "" : concat("; did you mean '", nearest, "'?")));
}

int dispatch(const std::vector<std::string>& args, const CliHooks& hooks) {
  if (args.empty()) {
    std::fputs(general_help(hooks).c_str(), stderr);
    return 2;
  }
  const std::string& name = args[0];
  std::vector<std::string> rest(args.begin() + 1, args.end());
  if (name == "--version") {
    write_out(hooks.program + " " SPECTRALKV_VERSION "\n");
    return 0;
  }
  if (name == "-h" || name == "--help" || name == "help") {
    if (name != "help" || rest.empty()) {
      write_out(general_help(hooks));
      return 0;
    }
    if (rest[0] == "llama.cpp") {
      write_out(peer_table());
      return 0;
    }
    const CommandRow* row = find_command(rest[0]);
    if (row == nullptr) fail_unknown_command(rest[0], {"--help"}, hooks);
    return row->run({"--help"}, hooks);
  }
  const CommandRow* row = find_command(name);
  if (row == nullptr) fail_unknown_command(name, rest, hooks);
  return row->run(rest, hooks);
}

int report_error(const std::string& message, int status) {
  std::fputs(("error: " + shown(message) + "\n").c_str(), stderr);  // it may quote an untrusted file
  return status;
}

}  // namespace

std::span<const CommandRow> command_table() {
  return kCommands;
}

std::vector<Option> without_setters(std::vector<Option> rows) {
  for (Option& row : rows) row.set = nullptr;
  return rows;
}

std::string python_command(const std::string& extra, const std::string& name,
                           const std::vector<std::string>& args) {
  constexpr std::size_t kMost = 400;  // bytes: a prompt may be long
  std::string words;
  for (const std::string& arg : args) words += concat(" ", shell_word(arg));
  if (words.size() > kMost) words = " ...";
  return concat("`python3 -m pip install ", extra.empty() ? "." : shell_word(concat(".[", extra, "]")),
                "` in spectralkv's folder, and then here `python3 -m spectralkv ", name, words, "`");
}

bool gave_help(const CliHooks& hooks, const std::string& name, const std::string& usage,
               const std::string& about, const std::vector<Option>& rows,
               const std::vector<std::string>& args) {
  if (!asks_for_help(rows, args)) return false;
  std::string shown_usage = usage;
  for (const std::string model : {"-m MODEL", "FILE"})  // where there is a default model, none need be named
    if (hooks.default_model && usage.starts_with(model))
      shown_usage = concat("[", model, "]", usage.substr(model.size()));
  write_out("usage: " + hooks.program + " " + name + " " + shown_usage + "\n\n" + about + "\n\noptions:\n" +
            options_help(rows) + options_help({{{"-h", "--help"}, "", "this help", {}}}));
  return true;
}

int cli_main(const std::vector<std::string>& args, const CliHooks& hooks) {
  const InterruptGuard guard;
  try {
    return dispatch(args, hooks);
  } catch (const UsageError& e) {
    const bool of_command = !args.empty() && find_command(args[0]) != nullptr;
    const std::string help = hooks.program + (of_command ? " " + args[0] : "") + " --help";
    return report_error(concat(e.what(), "\nsee: ", help), 2);
  } catch (const BrokenPipe&) {
    return 141;
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::interrupted) return 130;
    return report_error(e.what(), 1);
  } catch (const std::bad_alloc&) {
    return report_error("out of memory", 1);
  } catch (const std::exception& e) {
    return report_error(concat("unexpected: ", e.what()), 1);
  }
}

}  // namespace spectralkv
