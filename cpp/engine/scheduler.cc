// What other threads ask of the scheduler, and how requests come and end.
#include "engine/scheduler.h"

#include <algorithm>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/sequence.h"
#include "engine/step_plan.h"
#include "model/scratch.h"

namespace spectralkv {
namespace {

SchedulerOptions checked(SchedulerOptions options, const ModelConfig& config) {
  if (options.n_ctx == 0) options.n_ctx = config.context_length;
  check(options.n_ctx >= 1 && options.n_ctx <= (std::int64_t{1} << 31), "engine",
        "n_ctx must be 1 to 2^31 (0: the model's ", config.context_length, "), got ", options.n_ctx);
  check(options.n_parallel >= 1 && options.n_parallel <= 4096, "engine", "n_parallel must be 1 to 4096, got ",
        options.n_parallel);
  check(options.n_batch >= options.n_parallel && options.n_batch <= 65536, "engine",
        "n_batch must be n_parallel (", options.n_parallel, ") to 65536, got ", options.n_batch);
  check(options.cache_bytes >= 1, "engine", "cache_bytes must be at least 1, got ", options.cache_bytes);
  check(options.kept_folder_bytes >= 1, "engine", "kept_folder_bytes must be at least 1, got ",
        options.kept_folder_bytes);
  check(options.pause_s > 0, "engine", "pause_s must be above 0, got ", options.pause_s);
  return options;
}

void check_mask(TokenMask allowed, std::int64_t n_vocab) {
  const auto words = static_cast<std::size_t>((n_vocab + 31) / 32);
  check(allowed.empty() || allowed.size() == words, "engine", "a mask of allowed tokens has ", allowed.size(),
        " words, a vocabulary of ", n_vocab, " tokens needs ", words);
}

}  // namespace

// What has been asked for since the last step.
struct Scheduler::Inbox {
  std::vector<std::unique_ptr<Sequence>> submitted;
  std::vector<RequestId> cancelled;
  std::vector<std::pair<RequestId, std::vector<std::uint32_t>>> allowed;

  bool empty() const { return submitted.empty() && cancelled.empty() && allowed.empty(); }
};

Scheduler::Scheduler(Engine& engine, SchedulerOptions options)
    : engine_(engine),
      options_(checked(std::move(options), engine.config())),
      format_(cache_format(engine, options_.type_k, options_.type_v)),
      scratch_(std::make_unique<Scratch>(engine.backend(), engine.config(), options_.n_batch,
                                         options_.n_parallel)),
      cost_(*format_),
      kept_(format_, options_.kept_folder.empty()
                         ? nullptr
                         : std::make_unique<KeptFiles>(engine, format_, options_.kept_folder,
                                                       options_.kept_folder_bytes)),
      pace_(options_.pause_s, options_.n_batch),
      inbox_(std::make_unique<Inbox>()) {
  engine.backend().lay_out_weights();  // or the first steps would teach the pace what no other one takes
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
  check_mask(request.allowed, n_vocab);
  auto sequence = std::make_unique<Sequence>(engine_.tokenizer(), std::move(request));
  const std::int64_t most = sequence->request.options.max_tokens;
  const bool bounded = most >= 0 && most <= options_.n_ctx - n;
  // The last token is drawn and not read.
  const std::int64_t wanted = bounded ? n + std::max<std::int64_t>(most - 1, 0) : options_.n_ctx;
  sequence->limit = cost_.longest(wanted, options_.cache_bytes);
  check(sequence->limit >= (bounded ? wanted : n), "engine", "a request of ", bounded ? wanted : n,
        " tokens takes about ", cost_.exact(wanted) + cost_.usual(0, wanted),
        " bytes of cache, more than the budget of ", options_.cache_bytes, " bytes, which holds one of ",
        sequence->limit, " tokens");

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
  check_mask(allowed, engine_.config().n_vocab);
  const std::lock_guard lock(mutex_);
  if (live_.count(id) == 0) return false;
  inbox_->allowed.emplace_back(id, std::move(allowed));
  return true;
}

bool Scheduler::wait(double longest) {
  std::unique_lock lock(mutex_);
  const auto busy = [&] {
    return !inbox_->empty() || published_.waiting + published_.running > 0 || unsaved_;
  };
  return arrived_.wait_for(lock, std::chrono::duration<double>(longest), busy);
}

SchedulerStats Scheduler::stats() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

std::vector<Event> Scheduler::step() {
  Events events;
  take_inbox(events);
  expire(events);
  admit(events);
  const StepPlan plan = plan_that_fits(events);
  if (!plan.parts.empty())
    read(plan, events);
  else if (sequences_.empty())
    kept_.save_one();
  publish();
  return events;
}

void Scheduler::take_inbox(Events& events) {
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
      end(arrived, arrived.completion.reason(), {}, events);
  }
  for (auto& [id, allowed] : taken.allowed)
    if (const auto at = sequences_.find(id); at != sequences_.end())
      at->second->request.allowed = std::move(allowed);
  for (const RequestId id : taken.cancelled)
    if (const auto at = sequences_.find(id); at != sequences_.end())
      end(*at->second, FinishReason::cancelled, {}, events);
}

void Scheduler::expire(Events& events) {
  const auto now = Clock::now();
  for (auto at = sequences_.begin(); at != sequences_.end();) {
    Sequence& sequence = *at++->second;
    if (sequence.request.deadline && *sequence.request.deadline <= now)
      end(sequence, FinishReason::deadline, {}, events);
  }
}

// Ends a request without a token.
void Scheduler::end(Sequence& sequence, FinishReason reason, const std::string& error, Events& events) {
  sequence.completion.end(reason);
  Event event;
  event.id = sequence.id;
  event.reason = reason;
  event.rest = sequence.completion.rest();
  event.error = error;
  event.timings = sequence.timings;
  events.push_back(std::move(event));
  release(sequence);
}

// What a request has read is kept, whatever ended it; not after an error, of which the cache may be the
// cause.
void Scheduler::release(Sequence& sequence) {
  const FinishReason reason = sequence.completion.reason();
  if (sequence.runs() && reason != FinishReason::error) keep(sequence);
  ++now_.finished;
  if (reason == FinishReason::cancelled) ++now_.cancelled;
  if (reason == FinishReason::deadline) ++now_.expired;
  if (reason == FinishReason::error) ++now_.failed;
  no_room_ = false;
  const RequestId id = sequence.id;
  sequences_.erase(id);
  make_room(0);
  const std::lock_guard lock(mutex_);
  live_.erase(id);
}

void Scheduler::publish() {
  now_.waiting = now_.running = now_.reading = 0;
  now_.held_tokens = kept_.n_tokens();
  for (const auto& [id, sequence] : sequences_) {
    ++(sequence->runs() ? now_.running : now_.waiting);
    if (sequence->reads()) ++now_.reading;
    if (sequence->runs()) now_.held_tokens += sequence->n_read();
  }
  now_.kept = kept_.size();
  now_.kept_files = kept_.n_files();
  now_.kept_file_bytes = kept_.file_bytes();
  now_.kept_exact_bytes = kept_.exact_bytes();
  now_.cache_bytes = used_bytes();
  now_.budget_bytes = options_.cache_bytes;
  now_.beside_tokens = pace_.beside();
  const std::lock_guard lock(mutex_);
  published_ = now_;
  unsaved_ = kept_.has_unsaved();
}

std::int64_t Scheduler::save(std::span<const Token> tokens, const std::string& path) {
  const PrefixCache::Found found = kept_.find(tokens, std::ssize(tokens));
  if (found.n == 0) return 0;
  const auto cache = found.cache->fork(found.cache->n_tokens());
  cache->truncate(found.n);
  save_kept(path, engine_, tokens.first(static_cast<std::size_t>(found.n)), *cache);
  return found.n;
}

std::vector<Token> Scheduler::load(const std::string& path) {
  KeptState state = load_kept(path, engine_, format_, options_.n_ctx);
  kept_.add(state.tokens, *state.cache);
  make_room(0);
  publish();
  return std::move(state.tokens);
}

}  // namespace spectralkv
