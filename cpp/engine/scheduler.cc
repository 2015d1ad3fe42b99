// A step: what came in is taken, requests are admitted, a forward pass is put together and run, tokens drawn.
#include "engine/scheduler.h"

#include <algorithm>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/sequence.h"
#include "kv/step.h"
#include "model/model.h"

namespace spectralkv {
namespace {

double seconds(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

// A row of a step's logits, in the backend's memory.
class StepLogits final : public LogitsRow {
 public:
  StepLogits(Backend& backend, const float* row, std::int64_t n_vocab)
      : backend_(backend), row_(row), n_vocab_(n_vocab) {}

  std::span<const float> all() override {
    if (host_.empty()) {
      host_.resize(static_cast<std::size_t>(n_vocab_));
      backend_.read(row_, host_);
    }
    return host_;
  }
  bool best(std::span<std::pair<float, Token>> out) override { return backend_.best(row_, n_vocab_, out); }

 private:
  Backend& backend_;
  const float* row_;
  std::int64_t n_vocab_;
  std::vector<float> host_;
};

SchedulerOptions checked(SchedulerOptions options, const ModelConfig& config) {
  if (options.n_ctx == 0) options.n_ctx = config.context_length;
  check(options.n_ctx >= 1 && options.n_ctx <= (std::int64_t{1} << 31), "engine",
        "n_ctx must be 1 to 2^31 (0: the model's ", config.context_length, "), got ", options.n_ctx);
  check(options.n_parallel >= 1 && options.n_parallel <= 4096, "engine", "n_parallel must be 1 to 4096, got ",
        options.n_parallel);
  check(options.n_batch >= options.n_parallel && options.n_batch <= 65536, "engine",
        "n_batch must be n_parallel (", options.n_parallel, ") to 65536, got ", options.n_batch);
  check(options.cache_bytes >= 1, "engine", "cache_bytes must be at least 1, got ", options.cache_bytes);
  check(options.pause_s > 0, "engine", "pause_s must be above 0, got ", options.pause_s);
  return options;
}

}  // namespace

// What other threads have asked for since the last step.
struct Scheduler::Inbox {
  std::vector<std::unique_ptr<Sequence>> submitted;
  std::vector<RequestId> cancelled;
  std::vector<std::pair<RequestId, std::vector<std::uint32_t>>> allowed;

  bool empty() const { return submitted.empty() && cancelled.empty() && allowed.empty(); }
};

struct Scheduler::Plan {
  std::vector<Sequence*> sequences;
  std::vector<StepPart> parts;  // one of each
  std::int64_t prompt_tokens = 0, decoding = 0;

  void add(Sequence& sequence, std::int64_t n) {
    const auto tokens =
        std::span<const Token>(sequence.tokens)
            .subspan(static_cast<std::size_t>(sequence.n_read()), static_cast<std::size_t>(n));
    (sequence.decodes() ? decoding : prompt_tokens) += n;
    sequences.push_back(&sequence);
    parts.push_back({sequence.cache.get(), tokens, n == sequence.unread() ? 1 : 0});
  }
};

Scheduler::Scheduler(Engine& engine, SchedulerOptions options)
    : engine_(engine),
      options_(checked(std::move(options), engine.config())),
      format_(std::make_shared<const CacheFormat>(engine.config().cache_shape(), options_.type_k,
                                                  options_.type_v)),
      scratch_(std::make_unique<Scratch>(engine.backend(), engine.config(), options_.n_batch,
                                         options_.n_parallel)),
      beside_(options_.pause_s, options_.n_batch),
      alone_(5 * options_.pause_s, options_.n_batch),
      inbox_(std::make_unique<Inbox>()) {
  publish();
}

Scheduler::~Scheduler() = default;

RequestId Scheduler::submit(Request request) {
  const std::int64_t n_vocab = engine_.config().n_vocab, n = std::ssize(request.prompt);
  check(n >= 1, "engine", "a request without a prompt: it needs at least one token");
  check(n <= options_.n_ctx, "engine", "a prompt of ", n, " tokens does not fit into the context of ",
        options_.n_ctx, " tokens; raise n_ctx (-c)");
  for (const Token token : request.prompt)
    check(token >= 0 && token < n_vocab, "engine", "token ", token, " is not within the vocabulary of ",
          n_vocab);
  const auto words = static_cast<std::size_t>((n_vocab + 31) / 32);
  check(request.allowed.empty() || request.allowed.size() == words, "engine", "a mask of allowed tokens has ",
        request.allowed.size(), " words, a vocabulary of ", n_vocab, " tokens needs ", words);
  auto sequence = std::make_unique<Sequence>(0, engine_.tokenizer(), std::move(request));
  const std::int64_t most = sequence->request.options.max_tokens;
  sequence->limit = most < 0 || most > options_.n_ctx - n ? options_.n_ctx : n + most;

  const std::lock_guard lock(mutex_);
  const RequestId id = sequence->id = next_id_++;
  inbox_->submitted.push_back(std::move(sequence));
  live_.insert(id);
  arrived_.notify_all();
  return id;
}

bool Scheduler::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  if (live_.count(id) == 0) return false;
  inbox_->cancelled.push_back(id);
  arrived_.notify_all();
  return true;
}

bool Scheduler::allow(RequestId id, std::vector<std::uint32_t> allowed) {
  const auto words = static_cast<std::size_t>((engine_.config().n_vocab + 31) / 32);
  check(allowed.empty() || allowed.size() == words, "engine", "a mask of allowed tokens has ", allowed.size(),
        " words, a vocabulary of ", engine_.config().n_vocab, " tokens needs ", words);
  const std::lock_guard lock(mutex_);
  if (live_.count(id) == 0) return false;
  inbox_->allowed.emplace_back(id, std::move(allowed));
  return true;
}

bool Scheduler::wait(double longest) {
  std::unique_lock lock(mutex_);
  const auto busy = [&] { return !inbox_->empty() || published_.waiting + published_.running > 0; };
  return arrived_.wait_for(lock, std::chrono::duration<double>(longest), busy);
}

SchedulerStats Scheduler::stats() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::vector<Event> Scheduler::step() {
  std::vector<Event> events;
  take_inbox(events);
  expire(events);
  admit(events);
  const Plan next = plan();
  if (!next.parts.empty()) read(next, events);
  publish();
  return events;
}

void Scheduler::take_inbox(std::vector<Event>& events) {
  Inbox taken;
  {
    const std::lock_guard lock(mutex_);
    std::swap(taken, *inbox_);
  }
  for (auto& sequence : taken.submitted) {
    ++now_.requests;
    Sequence& arrived = *sequence;
    sequences_.emplace(arrived.id, std::move(sequence));
    if (arrived.completion.reason() != FinishReason::none)  // max_tokens 0
      finish(arrived, arrived.completion.reason(), {}, events);
  }
  for (auto& [id, allowed] : taken.allowed)
    if (const auto at = sequences_.find(id); at != sequences_.end())
      at->second->request.allowed = std::move(allowed);
  for (const RequestId id : taken.cancelled)
    if (const auto at = sequences_.find(id); at != sequences_.end())
      finish(*at->second, FinishReason::cancelled, {}, events);
}

void Scheduler::expire(std::vector<Event>& events) {
  const auto now = Clock::now();
  for (auto at = sequences_.begin(); at != sequences_.end();) {
    Sequence& sequence = *at++->second;
    if (sequence.request.deadline && *sequence.request.deadline <= now)
      finish(sequence, FinishReason::deadline, {}, events);
  }
}

void Scheduler::admit(std::vector<Event>&) {
  auto running = std::count_if(sequences_.begin(), sequences_.end(),
                               [](const auto& entry) { return entry.second->runs(); });
  for (const auto& [id, sequence] : sequences_) {
    if (running == options_.n_parallel) return;
    if (sequence->runs()) continue;
    sequence->cache = engine_.backend().make_cache(format_, sequence->limit);
    if (sequence->timings.decoded_tokens == 0) {
      sequence->admitted = Clock::now();
      sequence->timings.queue_s = seconds(sequence->submitted, sequence->admitted);
    }
    ++running;
  }
}

// Each request that decodes has a row; prompts get what is left of the step, the oldest first.
Scheduler::Plan Scheduler::plan() {
  Plan plan;
  for (const auto& [id, sequence] : sequences_)
    if (sequence->suspect()) {
      plan.add(*sequence, std::min(sequence->unread(), options_.n_batch));
      return plan;
    }
  for (const auto& [id, sequence] : sequences_)
    if (sequence->decodes()) plan.add(*sequence, 1);
  std::int64_t room =
      plan.decoding > 0 ? std::min(beside_.tokens(), options_.n_batch - plan.decoding) : alone_.tokens();
  for (const auto& [id, sequence] : sequences_) {
    if (room == 0) break;
    if (!sequence->runs() || sequence->decodes()) continue;
    const std::int64_t n = std::min(sequence->unread(), room);
    plan.add(*sequence, n);
    room -= n;
  }
  return plan;
}

void Scheduler::read(const Plan& plan, std::vector<Event>& events) {
  const auto start = Clock::now();
  try {
    engine_.model().forward(engine_.backend(), *scratch_, plan.parts);
    engine_.backend().finish();  // a device's errors come here
  } catch (const std::exception& error) {
    recover(plan, error.what(), events);
    return;
  }
  std::int64_t rows = 0;
  for (const StepPart& part : plan.parts) rows += part.n_logits;
  const Matrix logits = scratch_->logits.rows(rows);
  std::int64_t row = 0;
  for (std::size_t p = 0; p < plan.parts.size(); ++p)
    if (plan.parts[p].n_logits > 0) draw(*plan.sequences[p], logits.row(row++), events);

  now_.step_s = seconds(start, Clock::now());
  ++now_.steps;
  now_.read_tokens += plan.prompt_tokens + plan.decoding;
  if (plan.decoding > 0) now_.longest_pause_s = std::max(now_.longest_pause_s, now_.step_s);
  (plan.decoding > 0 ? beside_ : alone_).took(plan.prompt_tokens, now_.step_s);
}

// Some layers have taken the step and others not, so its caches are of no use any more. What they held is a
// function of the tokens: each sequence reads its own again, alone, and the one that is to blame fails alone.
void Scheduler::recover(const Plan& plan, const std::string& error, std::vector<Event>& events) {
  ++now_.failed_steps;
  for (std::size_t p = 0; p < plan.parts.size(); ++p) {
    Sequence& sequence = *plan.sequences[p];
    sequence.suspect_until = std::ssize(sequence.tokens);
    sequence.cache.reset();
  }
  if (plan.parts.size() == 1) finish(*plan.sequences[0], FinishReason::error, error, events);
}

void Scheduler::draw(Sequence& sequence, const float* row, std::vector<Event>& events) {
  StepLogits logits(engine_.backend(), row, engine_.config().n_vocab);
  Event event;
  try {
    event.token = sequence.completion.draw(
        logits, sequence.tokens, std::ssize(sequence.tokens) >= sequence.limit, sequence.request.allowed);
  } catch (const Error& error) {
    finish(sequence, FinishReason::error, error.what(), events);
    return;
  }
  RequestTimings& timings = sequence.timings;
  const auto now = Clock::now();
  if (timings.decoded_tokens++ == 0) {
    sequence.first_token = now;
    timings.prompt_s = seconds(sequence.admitted, now);
  }
  timings.decode_s = seconds(sequence.first_token, now);
  ++now_.decoded_tokens;
  event.id = sequence.id;
  event.reason = sequence.completion.reason();
  event.context_full = sequence.completion.context_full();
  event.timings = timings;
  sequence.tokens.push_back(event.token->token);
  events.push_back(std::move(event));
  if (sequence.completion.reason() != FinishReason::none)
    finish(sequence, sequence.completion.reason(), {}, events);
}

// Ends a request: its last event is the one that its last token has made, or another one.
void Scheduler::finish(Sequence& sequence, FinishReason reason, const std::string& error,
                       std::vector<Event>& events) {
  if (sequence.completion.reason() == FinishReason::none || events.empty() ||
      events.back().id != sequence.id) {
    Event event;
    event.id = sequence.id;
    event.reason = reason;
    event.rest = sequence.completion.rest();
    event.error = error;
    event.timings = sequence.timings;
    events.push_back(std::move(event));
  }
  ++now_.finished;
  if (reason == FinishReason::cancelled) ++now_.cancelled;
  if (reason == FinishReason::deadline) ++now_.expired;
  if (reason == FinishReason::error) ++now_.failed;
  const RequestId id = sequence.id;
  sequences_.erase(id);
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

void Scheduler::publish() {
  now_.waiting = now_.running = now_.reading = 0;
  for (const auto& [id, sequence] : sequences_) {
    ++(sequence->runs() ? now_.running : now_.waiting);
    if (sequence->runs() && !sequence->decodes()) ++now_.reading;
  }
  now_.budget_bytes = options_.cache_bytes;
  now_.beside_tokens = beside_.tokens();
  const std::lock_guard lock(mutex_);
  published_ = now_;
}

}  // namespace spectralkv
