// A step: put together, run, and made to tokens.
#include <algorithm>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/scheduler.h"
#include "engine/step_plan.h"
#include "model/model.h"

namespace spectralkv {
namespace {

// A row of a step's logits, in the backend's memory.
class StepLogits final : public LogitsRow {
 public:
  StepLogits(Backend& backend, const float* row, std::int64_t n_vocab)
      : backend_(backend), row_(row), n_vocab_(n_vocab) {}

  std::span<const float> all() override {
    host_.resize(static_cast<std::size_t>(n_vocab_));
    backend_.read(row_, host_);
    return host_;
  }
  bool best(std::span<std::pair<float, Token>> out) override { return backend_.best(row_, n_vocab_, out); }

 private:
  Backend& backend_;
  const float* row_;
  std::int64_t n_vocab_;
  std::vector<float> host_;
};

}  // namespace

// Each request that decodes has a row; prompts get what the step has left, the oldest first. One that was in
// a step that failed reads alone.
StepPlan Scheduler::plan() {
  StepPlan plan;
  for (const auto& [id, sequence] : sequences_)
    if (sequence->suspect()) {
      plan.add(*sequence, sequence->next_piece(options_.n_batch));
      return plan;
    }
  for (const auto& [id, sequence] : sequences_)
    if (sequence->decodes()) plan.add(*sequence, 1);
  std::int64_t room =
      plan.decoding > 0 ? std::min(pace_.beside(), options_.n_batch - plan.decoding) : pace_.alone();
  for (const auto& [id, sequence] : sequences_) {
    if (!sequence->reads() || room == 0) continue;
    const std::int64_t n = sequence->next_piece(room);
    plan.add(*sequence, n);
    room -= n;
  }
  return plan;
}

// The same, with room for the blocks that it seals: kept sequences go first, then the youngest request is put
// back. The last one goes on as long as it has room itself.
StepPlan Scheduler::plan_that_fits(Events& events) {
  for (;;) {
    StepPlan next = plan();
    if (next.parts.empty()) return next;
    std::int64_t growth = 0;
    for (const StepPart& part : next.parts)
      growth += cost_.most(part.cache->n_tokens(), part.cache->n_tokens() + part.n());
    if (make_room(growth)) return next;
    std::vector<Sequence*> running;
    for (const auto& [id, sequence] : sequences_)
      if (sequence->runs()) running.push_back(sequence.get());
    if (running.size() > 1) {
      preempt(*running.back());
      continue;
    }
    if (make_room(0)) return next;
    end(*running.back(), FinishReason::error,
        concat("[engine] the cache of this request has grown to ", used_bytes(), " bytes at ",
               running.back()->n_read(), " tokens, the budget is ", options_.cache_bytes, " bytes"),
        events);
  }
}

void Scheduler::read(const StepPlan& plan, Events& events) {
  const auto start = Clock::now();
  try {
    engine_.model().forward(engine_.backend(), *scratch_, plan.parts);
    engine_.backend().finish();  // a device's errors come here
  } catch (const std::exception& error) {
    recover(plan, error.what(), events);
    return;
  }
  const Matrix logits = scratch_->logits.rows(rows_of(plan.parts).n_logits);
  std::int64_t row = 0;
  for (std::size_t p = 0; p < plan.parts.size(); ++p) {
    Sequence& sequence = *plan.sequences[p];
    const std::int64_t n = sequence.n_read();
    if (sequence.keep_at.erase(n) > 0 || n == sequence.timings.prompt_tokens) {
      keep(sequence);
      make_room(0);
    }
    if (plan.parts[p].n_logits > 0) draw(sequence, logits.row(row++), events);
  }

  now_.step_s = seconds_between(start, Clock::now());
  ++now_.steps;
  now_.read_tokens += plan.prompt_tokens + plan.decoding;
  if (plan.decoding > 0) now_.longest_pause_s = std::max(now_.longest_pause_s, now_.step_s);
  pace_.took(plan.prompt_tokens, plan.decoding, now_.step_s);
}

// Some layers have taken the step and others not, so its caches are of no use any more. What they held is a
// function of their tokens: each sequence reads them again, alone, and the one that is to blame fails alone.
void Scheduler::recover(const StepPlan& plan, const std::string& error, Events& events) {
  ++now_.failed_steps;
  for (std::size_t p = 0; p < plan.parts.size(); ++p) {
    Sequence& sequence = *plan.sequences[p];
    sequence.suspect_until = std::ssize(sequence.tokens);
    sequence.cache.reset();
  }
  no_room_ = false;
  if (plan.parts.size() == 1) end(*plan.sequences[0], FinishReason::error, error, events);
}

void Scheduler::draw(Sequence& sequence, const float* row, Events& events) {
  StepLogits logits(engine_.backend(), row, engine_.config().n_vocab);
  Event event;
  try {
    event.token = sequence.completion.draw(
        logits, sequence.tokens, std::ssize(sequence.tokens) >= sequence.limit, sequence.request.allowed);
  } catch (const Error& error) {
    end(sequence, FinishReason::error, error.what(), events);
    return;
  }
  RequestTimings& timings = sequence.timings;
  const auto now = Clock::now();
  if (timings.decoded_tokens++ == 0) {
    sequence.first_token_at = now;
    timings.prompt_s = seconds_between(sequence.admitted_at, now);
  }
  timings.decode_s = seconds_between(sequence.first_token_at, now);
  ++now_.decoded_tokens;
  sequence.tokens.push_back(event.token->token);
  event.id = sequence.id;
  event.reason = sequence.completion.reason();
  event.context_full = sequence.completion.context_full();
  event.timings = timings;
  const bool last = event.reason != FinishReason::none;
  events.push_back(std::move(event));
  if (last) release(sequence);
}

}  // namespace spectralkv
