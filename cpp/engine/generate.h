// Generation token by token, with stop strings, held-back text and the reason why it ended.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "engine/completion.h"
#include "engine/engine.h"

namespace spectralkv {

// Says before each draw which tokens may come, given the token that was drawn last (-1: none yet). What it
// returns is good until it is asked again.
using NextTokens = std::function<TokenMask(Token last)>;

// Gives the logits to draw from [n_vocab], of the model's own after `history`; good until it is asked again.
using ShapeLogits =
    std::function<std::span<const float>(std::span<const Token> history, std::span<const float> logits)>;

struct GenerateOptions : CompletionOptions {
  std::function<bool()> cancelled;  // asked before each token
  NextTokens allowed;               // empty: all tokens may come
  ShapeLogits shape;                // empty: they stay as they are
};

// Samples from the session's logits. The session reads a token only when the one after it is asked for, so
// the last token costs no forward pass: whatever ended the generation, the session then holds every token
// that next() gave except the last. A further Generation on the session would repeat that last token's draw;
// to go on after `length`, eval the last token first.
class Generation {
 public:
  // The session must have logits: at least one token read, and none taken back since. The session may not be
  // used by others while this lives. Sampling options, stop strings and top_logprobs are checked here.
  Generation(Session& session, GenerateOptions options);

  // The next token, nothing when finished (Completion says what it is). reason() is set together with the
  // last token; only after `cancelled` the held-back text comes from rest() alone. The token sampled at the
  // last place of the context is given and ends with `length`.
  std::optional<GeneratedToken> next();
  // Text that is still held back (an unfinished character, the start of a stop string that did not complete).
  // Call at the end, whatever the reason.
  std::string rest() { return completion_.rest(); }
  FinishReason reason() const { return completion_.reason(); }
  // True when `length` came from the context's end and not from max_tokens.
  bool context_full() const { return completion_.context_full(); }

 private:
  Session& session_;
  std::function<bool()> cancelled_;
  NextTokens allowed_;
  ShapeLogits shape_;
  Completion completion_;
  Token pending_ = -1;  // given out, not yet read by the session
  Token last_ = -1;     // drawn
};

}  // namespace spectralkv
