// One answer as it grows: draws tokens from logits, decides what text may be shown, knows when it ends. Knows
// no cache: a session's generation and the scheduler's requests are made with it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/sampler.h"
#include "engine/text_filter.h"
#include "tokenizer/tokenizer.h"

namespace spectralkv {

struct CompletionOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = -1;  // < 0: until the end token or the context's end
  // Text that ends the answer and is not given out; none of them empty. The text of a control token means the
  // token, which gives out no text.
  std::vector<std::string> stop;
  bool ignore_end_tokens = false;  // go on past end-of-generation tokens
  bool render_special = false;     // give out the text of control tokens (but never of the one that ends)
  int top_logprobs = -1;           // >= 0: give log-probabilities, and that many alternatives
};

enum class FinishReason : std::uint8_t { none, stop, length, cancelled, deadline, error };
std::string_view finish_reason_name(FinishReason reason);  // "", "stop", "length", "cancelled", ...

struct GeneratedToken {
  Token token = -1;
  std::string
      bytes;  // of this token alone, a character may be cut; empty for the token that ends the generation
  float logprob =
      0;  // natural logarithm, of the model itself (before bias, penalty, temperature); when asked for
  std::vector<std::pair<Token, float>> top;  // the most probable tokens, best first; when asked for
  std::string text;  // new text that is safe to show: whole characters, no part of a stop string
};

// Where the logits after a sequence's last token are.
class LogitsRow {
 public:
  virtual ~LogitsRow() = default;
  virtual std::span<const float> all() = 0;  // [n_vocab]
  // What tokens are drawn from, where that is something else; log-probabilities are those of all().
  virtual std::span<const float> shaped() { return all(); }
  // Fills `out` with the best logits and their ids, best first, where that is faster than all(); else false.
  virtual bool best(std::span<std::pair<float, Token>> out) = 0;
};

class Completion {
 public:
  // Sampling options, stop strings and top_logprobs are checked here. The tokenizer must outlive it.
  Completion(const Tokenizer& tokenizer, CompletionOptions options);

  // The next token, of the logits after `history`, all tokens so far. An end token is given too, without
  // bytes, and ends with `stop`; so does the token that completes a stop string. The token that ends includes
  // the text that was held back. at_end: there is no room to read this token, so it ends with `length`.
  // allowed: what may be drawn now. A value error changes nothing.
  GeneratedToken draw(LogitsRow& logits, std::span<const Token> history, bool at_end, TokenMask allowed = {});
  // Text that is still held back (an unfinished character, the start of a stop string that did not complete).
  std::string rest() { return filter_.finish(); }

  void end(FinishReason reason) { reason_ = reason; }
  FinishReason reason() const { return reason_; }
  // True when `length` came from at_end and not from max_tokens.
  bool context_full() const { return context_full_; }

 private:
  const Tokenizer& tokenizer_;
  CompletionOptions options_;
  Sampler sampler_;
  TextFilter filter_;
  std::vector<Token> stop_tokens_;             // control tokens whose text is a stop string
  std::vector<std::pair<float, Token>> best_;  // of the logits, from the backend
  std::int64_t n_generated_ = 0;
  FinishReason reason_ = FinishReason::none;
  bool context_full_ = false;
};

}  // namespace spectralkv
