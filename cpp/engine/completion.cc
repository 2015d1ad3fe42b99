// A token of an answer: drawn, told from an end token, made to text, counted.
#include "engine/completion.h"

#include <algorithm>

#include "base/error.h"

namespace spectralkv {

std::string_view finish_reason_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::none:
      return "";
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
    case FinishReason::deadline:
      return "deadline";
    case FinishReason::error:
      return "error";
  }
  return "";
}

Completion::Completion(const Tokenizer& tokenizer, CompletionOptions options)
    : tokenizer_(tokenizer),
      options_(std::move(options)),
      sampler_(options_.sampling, tokenizer.n_vocab(), &tokenizer),
      filter_(options_.stop) {
  check(options_.top_logprobs >= -1 && options_.top_logprobs <= tokenizer.n_vocab(), "engine",
        "top_logprobs must be -1 (none) to the size of the vocabulary, not ", options_.top_logprobs);
  if (options_.max_tokens == 0) reason_ = FinishReason::length;
  for (const std::string& text : options_.stop) {
    const std::vector<Token> tokens = tokenizer.encode(text, false, true);
    if (tokens.size() == 1 && tokenizer.is_control(tokens[0])) stop_tokens_.push_back(tokens[0]);
  }
}

GeneratedToken Completion::draw(LogitsRow& logits, std::span<const Token> history, bool at_end,
                                TokenMask allowed) {
  GeneratedToken result;
  const bool all = options_.top_logprobs >= 0 || !allowed.empty();
  best_.resize(static_cast<std::size_t>(all ? 0 : sampler_.candidates_needed()));
  if (!best_.empty() && logits.best(best_)) {
    result.token = sampler_.sample_best(best_);
  } else {
    const std::span<const float> values = logits.all();
    result.token = sampler_.sample(logits.shaped(), history, allowed);
    if (options_.top_logprobs >= 0) {
      result.logprob = token_logprob(values, result.token);
      result.top = top_logprobs(values, options_.top_logprobs);
    }
  }
  if (tokenizer_.is_end(result.token) && !options_.ignore_end_tokens) {
    reason_ = FinishReason::stop;
    result.text = filter_.finish();
    return result;
  }
  ++n_generated_;
  result.bytes = tokenizer_.piece(result.token, options_.render_special);
  result.text = filter_.put(result.bytes);
  if (filter_.stopped() ||
      std::find(stop_tokens_.begin(), stop_tokens_.end(), result.token) != stop_tokens_.end()) {
    reason_ = FinishReason::stop;
  } else if (options_.max_tokens >= 0 && n_generated_ >= options_.max_tokens) {
    reason_ = FinishReason::length;
  } else if (at_end) {
    reason_ = FinishReason::length;
    context_full_ = true;
  }
  if (reason_ != FinishReason::none) result.text += filter_.finish();
  return result;
}

}  // namespace spectralkv
