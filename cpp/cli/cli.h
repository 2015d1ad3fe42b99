// The command line, shared by the standalone binary and the Python package's `spectralkv`.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/generate.h"

namespace spectralkv {

struct ChatMessage {
  std::string role, content;
};

// Renders messages through a chat template. Arguments: the template's Jinja source, the messages, whether to
// open the assistant's turn, the text of the BOS and EOS tokens. Throws Error when the template is not
// understood.
using ChatFormatter =
    std::function<std::string(const std::string& source, const std::vector<ChatMessage>& messages,
                              bool add_generation_prompt, const std::string& bos, const std::string& eos)>;

// Recognises the chatml, llama-3 and mistral forms of a template; any other is refused by name. any: the
// command that takes it, for that message.
std::string format_chat_builtin(const std::string& source, const std::vector<ChatMessage>& messages,
                                bool add_generation_prompt, const std::string& bos, const std::string& eos,
                                const std::string& any);
// The same refusal, before there is a message.
void check_chat_builtin(const std::string& source, const std::string& any);

struct CliHooks {
  std::string program = "spectralkv";
  // An empty function: the builtin formats alone, as format_chat_builtin has them.
  ChatFormatter format_chat;
  // Path of the model when no -m is given; an empty function: -m is required.
  std::function<std::string()> default_model;
  // Fetches a model of the Hugging Face Hub, unless it is there, and gives its path: "owner/name" or
  // "owner/name:QUANT", and the file's name or "". An empty function: -hf is refused.
  std::function<std::string(const std::string& repo, const std::string& file)> fetch_model;
  // Draws what `fidelity --json` prints as images into a folder, which is there, and returns their names, a
  // line each. An empty function: --plot is refused, with no_plot as the reason.
  std::function<std::string(const std::string& json, const std::string& folder)> plot_fidelity;
  std::string no_plot =
      "the standalone binary draws no plots; the command of the Python package does "
      "(pip install '.[plot]' in its folder)";
  // A folder with calibrations of known models (engine/calibrations.h); empty: none.
  std::string calibrations;
  // Takes the array of token ids out of a NumPy archive (.npz), given its path, for messages, and its bytes;
  // returns the bytes of a .npy file. An empty function: such files are refused.
  std::function<std::string(const std::string& path, const std::string& archive)> unpack_npz;
  // Masks of the tokens that keep an answer within a grammar, for one answer; `option` is --grammar or
  // --json-schema, whose text is given. A value error says what is wrong with the text. An empty function:
  // such options are refused.
  std::function<NextTokens(const std::string& option, const std::string& text, const Tokenizer& tokenizer)>
      constrain;
  // Reads a chat's message, of one or more lines, from a terminal that stdin is, behind a prompt, with
  // editing; nothing at the end of the input. An empty function: the terminal's own lines are read.
  std::function<std::optional<std::string>(const std::string& prompt)> read_message;
  // Name and one line of help of further subcommands, for the help; their caller handles them.
  std::vector<std::pair<std::string, std::string>> more_commands;
};

// Runs `args` (without the program's name); returns the exit status: 0 done, 1 failed, 2 wrong usage, 130
// interrupted, 141 nobody reads stdout any more. Throws nothing. Handles SIGINT and SIGPIPE while it runs.
int cli_main(const std::vector<std::string>& args, const CliHooks& hooks);

}  // namespace spectralkv
