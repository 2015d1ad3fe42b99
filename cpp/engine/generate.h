// Generation token by token, with stop strings, held-back text and the reason why it ended.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"
#include "engine/text_filter.h"

namespace spectralkv {

// Says before each draw which tokens may come, given the token that was drawn last (-1: none yet). What it
// returns is good until it is asked again.
using NextTokens = std::function<TokenMask(Token last)>;

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = -1;     // < 0: until the end token or the context's end
  std::vector<std::string> stop;    // text that ends the generation and is not given out; none of them empty
  bool ignore_end_tokens = false;   // go on past end-of-generation tokens
  bool render_special = false;      // give out the text of control tokens (but never of the one that ends)
  int top_logprobs = -1;            // >= 0: give log-probabilities, and that many alternatives
  std::function<bool()> cancelled;  // asked before each token
  NextTokens allowed;               // which tokens may be drawn; empty: all
};

enum class FinishReason : std::uint8_t { none, stop, length, cancelled };
std::string_view finish_reason_name(FinishReason reason);  // "", "stop", "length", "cancelled"

struct GeneratedToken {
  Token token = -1;
  std::string
      bytes;  // of this token alone, a character may be cut; empty for the token that ends the generation
  float logprob =
      0;  // natural logarithm, of the model itself (before bias, penalty, temperature); when asked for
  std::vector<std::pair<Token, float>> top;  // the most probable tokens, best first; when asked for
  std::string text;  // new text that is safe to show: whole characters, no part of a stop string
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

  // The next token, nothing when finished. An end token is given too, without bytes, and ends with `stop`; so
  // does the token that completes a stop string. reason() is set together with the last token, whose text
  // then includes what was held back; only after `cancelled` the held-back text comes from rest() alone. The
  // token sampled at the last place of the context is given and ends with `length`.
  std::optional<GeneratedToken> next();
  // Text that is still held back (an unfinished character, the start of a stop string that did not complete).
  // Call at the end, whatever the reason.
  std::string rest();
  FinishReason reason() const { return reason_; }
  // True when `length` came from the context's end and not from max_tokens.
  bool context_full() const { return context_full_; }

 private:
  Session& session_;
  GenerateOptions options_;
  Sampler sampler_;
  TextFilter filter_;
  std::vector<std::pair<float, Token>> best_;  // of the pending logits, from the backend
  std::int64_t n_generated_ = 0;
  Token pending_ = -1;  // given out, not yet read by the session
  Token last_ = -1;     // drawn
  FinishReason reason_ = FinishReason::none;
  bool context_full_ = false;
};

}  // namespace spectralkv
