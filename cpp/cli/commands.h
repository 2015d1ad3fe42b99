// The table of subcommands: one file each.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/cli.h"

namespace spectralkv {

struct CommandRow {
  const char* name;
  const char* summary;  // one line of help
  int (*run)(const std::vector<std::string>& args, const CliHooks& hooks);
};

std::span<const CommandRow> command_table();

int run_command(const std::vector<std::string>& args, const CliHooks& hooks);
int inspect_command(const std::vector<std::string>& args, const CliHooks& hooks);
int perplexity_command(const std::vector<std::string>& args, const CliHooks& hooks);
int fidelity_command(const std::vector<std::string>& args, const CliHooks& hooks);
int bench_command(const std::vector<std::string>& args, const CliHooks& hooks);
int calibrate_command(const std::vector<std::string>& args, const CliHooks& hooks);
int tokenize_command(const std::vector<std::string>& args, const CliHooks& hooks);

// The options of `run`, `bench` and `perplexity`, to be read alone: they set nothing.
std::vector<Option> run_options();
std::vector<Option> bench_options();
std::vector<Option> perplexity_options();
std::vector<Option> without_setters(std::vector<Option> rows);

// For what the standalone binary refuses: how to have the Python package, with an extra of it or "", and the
// same command there.
std::string python_command(const std::string& extra, const std::string& name,
                           const std::vector<std::string>& args);

// Writes the help of a subcommand where its arguments ask for it, and then gives true. usage: what follows
// its name; about: lines of text.
bool gave_help(const CliHooks& hooks, const std::string& name, const std::string& usage,
               const std::string& about, const std::vector<Option>& rows,
               const std::vector<std::string>& args);

}  // namespace spectralkv
