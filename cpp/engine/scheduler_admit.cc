// Who may run: where a request starts from, whether there is room for it, and who has to go when there is
// not.
#include <algorithm>

#include "backend/backend.h"
#include "base/error.h"
#include "engine/scheduler.h"
#include "engine/sequence.h"
#include "model/scratch.h"

namespace spectralkv {
namespace {

// So many tokens more to share are worth waiting for the request that is just reading them, and keeping a
// state.
constexpr std::int64_t kWorthSharing = 64;

}  // namespace

// What a request can start from: a sequence that is kept, or one that runs.
struct Scheduler::Start {
  const KvCache* cache = nullptr;  // none: from nothing
  std::int64_t n = 0;              // its tokens that can be used
  std::int64_t common = 0;         // of kept ones, whether they can be used or not
};

// The oldest first. A request that has no room holds those behind it back, so it will have room; one that
// waits for what another one is reading does not.
void Scheduler::admit(Events& events) {
  auto running = std::count_if(sequences_.begin(), sequences_.end(),
                               [](const auto& entry) { return entry.second->runs(); });
  for (auto at = sequences_.begin(); at != sequences_.end() && running < options_.n_parallel && !no_room_;) {
    Sequence& sequence = *at++->second;
    if (sequence.runs()) continue;
    try {
      const Start from = best_start(sequence);
      if (waits_for_reader(sequence, from.n)) continue;
      no_room_ = !start(sequence, from, running == 0);
      if (!no_room_) ++running;
    } catch (const Error& error) {  // memory
      end(sequence, FinishReason::error, error.what(), events);
    }
  }
}

Scheduler::Start Scheduler::best_start(const Sequence& sequence) {
  Start best;
  if (!sequence.request.keep) return best;
  const std::int64_t most = std::ssize(sequence.tokens) - 1;  // one has to be read for logits
  const PrefixCache::Found found = kept_.find(sequence.tokens, most);
  best = {found.cache, found.n, found.common};
  for (const auto& [id, other] : sequences_) {
    if (!other->runs() || !other->request.keep) continue;
    const std::int64_t held = other->n_read();
    std::int64_t n = std::min({common_tokens(other->tokens, sequence.tokens), most, held});
    while (n > best.n && !format_->can_go_back(held, n)) --n;
    if (n > best.n) best.cache = other->cache.get(), best.n = n;
  }
  return best.n >= PrefixCache::kLink ? best : Start{nullptr, 0, best.common};
}

// Whether another request is about to read what this one begins with, and more than the `has` tokens that it
// could start from now. That one will keep its state where they part.
bool Scheduler::waits_for_reader(const Sequence& sequence, std::int64_t has) {
  if (!sequence.request.keep) return false;
  for (const auto& [id, other] : sequences_) {
    if (!other->reads() || !other->request.keep) continue;
    const std::int64_t common =
        std::min(common_tokens(other->tokens, sequence.tokens), std::ssize(sequence.tokens) - 1);
    if (common <= other->n_read() || common < has + kWorthSharing) continue;
    other->keep_at.insert(common);
    return true;
  }
  return false;
}

// False: there is no room. alone: nobody else runs, so there will not be more.
bool Scheduler::start(Sequence& sequence, const Start& from, bool alone) {
  std::unique_ptr<KvCache> cache;
  if (from.cache != nullptr) {
    cache = from.cache->fork(std::max(sequence.limit, from.cache->n_tokens()));
    cache->truncate(from.n);
  } else {
    cache = engine_.backend().make_cache(format_, sequence.limit);
  }
  const std::int64_t n = std::ssize(sequence.tokens);
  if (!make_room(cache->exact_bytes() + cost_.usual(from.n, n)) && !alone) return false;
  if (from.common >= from.n + kWorthSharing) sequence.keep_at.insert(from.common);
  sequence.cache = std::move(cache);
  if (std::exchange(sequence.admitted, true)) return true;
  sequence.admitted_at = Clock::now();
  sequence.timings.queue_s = seconds_between(sequence.submitted_at, sequence.admitted_at);
  sequence.timings.cached_tokens = from.n;
  now_.prompt_tokens += n;
  now_.cached_tokens += from.n;
  if (sequence.request.keep) ++now_.looked_up;
  if (from.n > 0) ++now_.found;
  return true;
}

void Scheduler::keep(const Sequence& sequence) {
  if (!sequence.request.keep) return;
  const auto tokens =
      std::span<const Token>(sequence.tokens).first(static_cast<std::size_t>(sequence.n_read()));
  try {
    kept_.add(tokens, *sequence.cache);
  } catch (const Error&) {  // no memory, or rows that a device finds unreadable: it is not kept
  }
}

// Of all sequences, kept ones too. Blocks of other sessions of the engine count in, as they take the same
// memory.
std::int64_t Scheduler::used_bytes() const {
  std::int64_t bytes = engine_.backend().sealed_bytes() + kept_.exact_bytes();
  for (const auto& [id, sequence] : sequences_)
    if (sequence->runs()) bytes += sequence->cache->exact_bytes();
  return bytes;
}

// Room for so many bytes more: kept sequences go.
bool Scheduler::make_room(std::int64_t bytes) {
  while (used_bytes() + bytes > options_.cache_bytes)
    if (!kept_.drop_oldest()) return false;
  return true;
}

// Back to the queue, where it is in front of all that came later. What it has read is kept while there is
// room.
void Scheduler::preempt(Sequence& sequence) {
  ++now_.preemptions;
  keep(sequence);
  sequence.cache.reset();
  make_room(0);
  no_room_ = true;
}

}  // namespace spectralkv
