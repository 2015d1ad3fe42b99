// A request in progress.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "kv/cache.h"

namespace spectralkv {

using Clock = std::chrono::steady_clock;

struct Sequence {
  Sequence(RequestId number, const Tokenizer& tokenizer, Request asked)
      : id(number), request(std::move(asked)), completion(tokenizer, request.options) {
    tokens = request.prompt;
    timings.prompt_tokens = std::ssize(tokens);
  }

  RequestId id;
  Request request;
  Completion completion;
  std::vector<Token> tokens;       // of the prompt, and drawn ones
  std::int64_t limit = 0;          // tokens that it may become
  std::unique_ptr<KvCache> cache;  // of a request that runs
  std::int64_t suspect_until = 0;  // reads alone up to there: one of the sequences of a step that failed
  Clock::time_point submitted = Clock::now(), admitted, first_token;
  RequestTimings timings;

  bool runs() const { return cache != nullptr; }
  std::int64_t n_read() const { return cache->n_tokens(); }
  std::int64_t unread() const { return std::ssize(tokens) - n_read(); }
  bool decodes() const { return runs() && unread() == 1 && timings.decoded_tokens > 0; }
  bool suspect() const { return runs() && n_read() < suspect_until; }
};

}  // namespace spectralkv
