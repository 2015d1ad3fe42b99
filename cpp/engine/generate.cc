// The generation loop: read the pending token, then draw the next one.
#include "engine/generate.h"

#include "base/error.h"

namespace spectralkv {
namespace {

class SessionLogits final : public LogitsRow {
 public:
  SessionLogits(const Session& session, const ShapeLogits& shape) : session_(session), shape_(shape) {}
  std::span<const float> all() override { return session_.logits(); }
  std::span<const float> shaped() override { return shape_ ? shape_(session_.tokens(), all()) : all(); }
  bool best(std::span<std::pair<float, Token>> out) override { return !shape_ && session_.best_logits(out); }

 private:
  const Session& session_;
  const ShapeLogits& shape_;
};

}  // namespace

Generation::Generation(Session& session, GenerateOptions options)
    : session_(session),
      cancelled_(std::move(options.cancelled)),
      allowed_(std::move(options.allowed)),
      shape_(std::move(options.shape)),
      completion_(session.engine().tokenizer(), std::move(options)) {
  check(session.has_logits(), "engine",
        "nothing to generate from: the session has no logits before a token was read (or after a truncate)");
}

std::optional<GeneratedToken> Generation::next() {
  if (reason() != FinishReason::none) return std::nullopt;
  if (cancelled_ && cancelled_()) {
    completion_.end(FinishReason::cancelled);
    return std::nullopt;
  }
  if (pending_ >= 0) {
    session_.eval_next(pending_);
    pending_ = -1;
  }
  SessionLogits logits(session_, shape_);
  const std::span<const Token> history = session_.tokens();
  GeneratedToken result = completion_.draw(logits, history, std::ssize(history) >= session_.n_ctx(),
                                           allowed_ ? allowed_(last_) : TokenMask());
  last_ = result.token;
  if (reason() == FinishReason::none) pending_ = result.token;
  return result;
}

}  // namespace spectralkv
