// The part of a state file in front of the cache's: the model, the tokens, and the logits after the last
// (kv/state_file.h has the format).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "kv/state_file.h"

namespace spectralkv {

struct StateHead {
  std::vector<Token> tokens;
  std::vector<float> logits;  // [n_vocab], or none
};

void write_state_head(StateWriter& out, const Engine& engine, std::span<const Token> tokens,
                      std::span<const float> logits);
// Refuses what is of another model, or longer than n_ctx.
StateHead read_state_head(StateReader& in, const Engine& engine, std::int64_t n_ctx);
// The tokens that a file seems to hold, of which only the beginning is read and nothing is checked but that
// it is a state of this model; none: it is not.
std::optional<std::vector<Token>> peek_state_tokens(const std::string& path, const Engine& engine);

}  // namespace spectralkv
