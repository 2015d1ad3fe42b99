// The text that a measurement reads: a file of -f, or the token ids of --tokens.
#pragma once

#include <string>
#include <vector>

#include "cli/args.h"
#include "cli/cli.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

struct TextInput {
  std::string file, tokens;  // paths; one of them is given
};

// Rows for -f and --tokens.
std::vector<Option> input_rows(TextInput& input);
// A usage error unless one of them was given.
void check_input(const TextInput& input);
// The text's tokens, as a prompt's; control tokens in it are plain text.
std::vector<Token> read_input(const TextInput& input, const Tokenizer& tokenizer, const CliHooks& hooks);

// By the name's end: .npy (NumPy, one dimension of 32- or 64-bit integers), .npz where a hook unpacks it,
// else text: whole numbers with spaces, commas or brackets between them. Throws file_not_found, os, or a
// value error that says what is wrong.
std::vector<Token> read_token_file(const std::string& path, const CliHooks& hooks);

}  // namespace spectralkv
