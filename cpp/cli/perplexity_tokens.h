// Token ids from files.
#pragma once

#include <string>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

// By the name's end: .npy (NumPy, one dimension of 32- or 64-bit integers), .npz (its array "ids" or
// "tokens", or the only one; stored or deflated), else text: whole numbers with spaces, commas or brackets
// between them. Throws file_not_found, os, or a value error that says what is wrong.
std::vector<Token> read_token_file(const std::string& path);

}  // namespace spectralkv
