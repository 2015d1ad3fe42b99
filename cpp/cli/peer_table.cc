// The rows are those that the commands parse by.
#include "cli/peer_table.h"

#include <vector>

#include "base/error.h"
#include "cli/commands.h"

namespace spectralkv {
namespace {

// A | would end the cell.
std::string cell(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '|' ? std::string("\\|") : std::string(1, c);
  return out;
}

std::string here(const Option& option) {
  switch (option.peer) {
    case Peer::same:
      return "same | ";
    case Peer::differs:
      return "differs | " + cell(option.note);
    case Peer::no_effect:
      return "no effect | " + cell(option.note);
    case Peer::refused:
      return "refused | " + cell(option.note);
    case Peer::ours:
      break;
  }
  return "not llama.cpp's | " + cell(option.help);
}

std::string table(const std::string& command, const std::string& peers, const std::vector<Option>& options) {
  std::string out =
      concat("## `spectralkv ", command, "` beside ", peers, "\n\n| option | here | |\n|---|---|---|\n");
  for (const Option& option : options) {
    std::string names;
    for (const std::string& name : option.names) names += concat(names.empty() ? "" : ", ", "`", name, "`");
    out += concat("| ", names, " | ", here(option), " |\n");
  }
  return out;
}

}  // namespace

std::string peer_table() {
  return table("run", "llama-cli and llama-completion", run_options()) + "\n" +
         table("bench", "llama-bench", bench_options()) + "\n" +
         table("perplexity", "llama-perplexity", perplexity_options());
}

}  // namespace spectralkv
