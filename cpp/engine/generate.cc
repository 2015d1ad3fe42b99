// The generation loop: read the pending token, sample, decide whether that ends it, give out text.
#include "engine/generate.h"

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
  }
  return "";
}

Generation::Generation(Session& session, GenerateOptions options)
    : session_(session),
      options_(std::move(options)),
      sampler_(options_.sampling, session.engine().tokenizer().n_vocab()),
      filter_(options_.stop) {
  check(session.has_logits(), "engine",
        "nothing to generate from: the session has no logits before a token was read (or after a truncate)");
  check(options_.top_logprobs >= -1 && options_.top_logprobs <= session.engine().tokenizer().n_vocab(),
        "engine", "top_logprobs must be -1 (none) to the size of the vocabulary, not ",
        options_.top_logprobs);
  if (options_.max_tokens == 0) reason_ = FinishReason::length;
}

std::optional<GeneratedToken> Generation::next() {
  if (reason_ != FinishReason::none) return std::nullopt;
  if (options_.cancelled && options_.cancelled()) {
    reason_ = FinishReason::cancelled;
    return std::nullopt;
  }
  if (pending_ >= 0) {
    session_.eval_next(pending_);
    pending_ = -1;
  }
  const Tokenizer& tokenizer = session_.engine().tokenizer();
  GeneratedToken result;
  const TokenMask allowed = options_.allowed ? options_.allowed(last_) : TokenMask();
  const bool all = options_.top_logprobs >= 0 || !allowed.empty();
  best_.resize(static_cast<std::size_t>(all ? 0 : sampler_.candidates_needed()));
  if (!best_.empty() && session_.best_logits(best_)) {
    result.token = sampler_.sample_best(best_);
  } else {
    const std::span<const float> logits = session_.logits();
    result.token = sampler_.sample(logits, session_.tokens(), allowed);
    if (options_.top_logprobs >= 0) {
      result.logprob = token_logprob(logits, result.token);
      result.top = top_logprobs(logits, options_.top_logprobs);
    }
  }
  last_ = result.token;
  if (tokenizer.is_end(result.token) && !options_.ignore_end_tokens) {
    reason_ = FinishReason::stop;
    result.text = filter_.finish();
    return result;
  }
  pending_ = result.token;
  ++n_generated_;
  result.bytes = tokenizer.piece(result.token, options_.render_special);
  result.text = filter_.put(result.bytes);
  if (filter_.stopped()) {
    reason_ = FinishReason::stop;
  } else if (options_.max_tokens >= 0 && n_generated_ >= options_.max_tokens) {
    reason_ = FinishReason::length;
  } else if (static_cast<std::int64_t>(session_.tokens().size()) >= session_.n_ctx()) {
    reason_ = FinishReason::length;
    context_full_ = true;
  }
  if (reason_ != FinishReason::none) result.text += filter_.finish();
  return result;
}

std::string Generation::rest() {
  return filter_.finish();
}

}  // namespace spectralkv
