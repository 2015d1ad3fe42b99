// Generation token by token, with stop strings, held-back text and the reason why it ended.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/sampler.h"

namespace spectralkv {

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = -1;    // < 0: until the end token or the context's end
  std::vector<std::string> stop;   // text that ends the generation and is not given out
  bool ignore_end_tokens = false;  // go on past end-of-generation tokens
  bool render_special = false;     // give out the text of control tokens
  int top_logprobs = -1;           // >= 0: give log-probabilities, and that many alternatives
  std::function<bool()> cancelled;
};

enum class FinishReason : std::uint8_t { none, stop, length, cancelled };
std::string_view finish_reason_name(FinishReason reason);  // "", "stop", "length", "cancelled"

struct GeneratedToken {
  Token token = -1;
  std::string bytes;     // of this token alone, a character may be cut
  float logprob = 0;     // when asked for
  std::vector<std::pair<Token, float>> top;
  std::string text;      // new text that is safe to show: whole characters, no part of a stop string
};

class Generation {
 public:
  // The session must have read at least one token. The session may not be used by others while this lives.
  Generation(Session& session, GenerateOptions options);

  // The next token, already appended to the session unless it ends the generation; nothing when finished. Text that
  // was held back comes with the last token or, when the end shows only later, from `rest()`.
  std::optional<GeneratedToken> next();
  // Text that was held back (an unfinished character, the start of a stop string that did not complete). Call at the end.
  std::string rest();
  FinishReason reason() const { return reason_; }
  // True when `length` came from the context's end and not from max_tokens.
  bool context_full() const { return context_full_; }

 private:
  std::string release(std::string_view complete);

  Session& session_;
  GenerateOptions options_;
  Sampler sampler_;
  Utf8Stream utf8_;
  std::string held_;
  std::int64_t n_generated_ = 0;
  Token pending_ = -1;
  FinishReason reason_ = FinishReason::none;
  bool context_full_ = false;
};

}  // namespace spectralkv
