// Fills the tokenizer's vocabulary from GGUF metadata.
#pragma once

#include "gguf/gguf.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

Vocab read_vocab(const Gguf& file, bool allow_unknown_pre);

}  // namespace spectralkv
