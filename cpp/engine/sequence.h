// A request in progress.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <set>
#include <vector>

#include "engine/request.h"
#include "kv/cache.h"

namespace spectralkv {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

struct Sequence {
  Sequence(const Tokenizer& tokenizer, Request asked)
      : request(std::move(asked)), completion(tokenizer, request.options), tokens(request.prompt) {
    timings.prompt_tokens = std::ssize(tokens);
  }

  RequestId id = 0;
  Request request;
  Completion completion;
  std::vector<Token> tokens;       // of the prompt, then those drawn
  std::int64_t limit = 0;          // tokens that it may have read
  std::unique_ptr<KvCache> cache;  // of a request that runs
  std::set<std::int64_t> keep_at;  // lengths at which others go another way, so that its state is kept there
  std::int64_t suspect_until = 0;  // reads alone up to there: it was in a step that failed
  bool admitted = false;
  Clock::time_point submitted_at = Clock::now(), admitted_at, first_token_at;
  RequestTimings timings;

  bool runs() const { return cache != nullptr; }
  std::int64_t n_read() const { return cache->n_tokens(); }
  std::int64_t unread() const { return std::ssize(tokens) - n_read(); }
  bool decodes() const { return runs() && unread() == 1 && timings.decoded_tokens > 0; }
  bool reads() const { return runs() && !decodes(); }
  bool suspect() const { return runs() && n_read() < suspect_until; }
  // Up to `most` tokens, and not past where its state is to be kept.
  std::int64_t next_piece(std::int64_t most) const {
    const auto stop = keep_at.upper_bound(n_read());
    const std::int64_t end = stop == keep_at.end() ? std::ssize(tokens) : std::min(*stop, std::ssize(tokens));
    return std::min(end - n_read(), most);
  }
};

}  // namespace spectralkv
