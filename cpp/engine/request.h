// What is asked of the scheduler, and what it says.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/completion.h"

namespace spectralkv {

using RequestId = std::uint64_t;

struct Request {
  std::vector<Token> prompt;  // at least one
  CompletionOptions options;
  std::vector<std::uint32_t> allowed;  // what the first token may be (TokenMask); empty: all
  std::optional<std::chrono::steady_clock::time_point> deadline;
  bool keep = true;  // start from kept tokens where there are some, and keep its own
};

struct RequestTimings {
  std::int64_t prompt_tokens = 0, cached_tokens = 0;  // of the prompt; those of it that were kept from before
  std::int64_t decoded_tokens = 0;                    // drawn
  double queue_s = 0, prompt_s = 0, decode_s = 0;     // until admitted, until the first token, and from there
};

// At most one for each request and step. The last one of a request has a reason.
struct Event {
  RequestId id = 0;
  std::optional<GeneratedToken> token;
  FinishReason reason = FinishReason::none;
  bool context_full =
      false;          // `length` came from the context's end, or that of its budget, not from max_tokens
  std::string rest;   // text that was held back, where a request ends without a token
  std::string error;  // with FinishReason::error
  RequestTimings timings;
};

struct SchedulerStats {
  std::int64_t waiting = 0, running = 0, reading = 0;  // requests; `reading`, of those running, their prompts
  std::int64_t requests = 0, finished = 0, cancelled = 0, expired = 0, failed = 0;
  std::int64_t steps = 0, failed_steps = 0, preemptions = 0;
  std::int64_t prompt_tokens = 0, cached_tokens = 0, decoded_tokens = 0;  // sums of the timings'
  std::int64_t read_tokens = 0;                                           // that steps have read
  std::int64_t looked_up = 0, found = 0;  // requests that looked for kept tokens, and those that found some
  std::int64_t kept = 0, kept_files = 0, kept_file_bytes = 0;  // sequences in memory, and in the folder
  std::int64_t held_tokens = 0;  // of running and kept sequences in memory; what two share counts twice
  std::int64_t cache_bytes = 0, kept_exact_bytes = 0, budget_bytes = 0;
  double step_s = 0, longest_pause_s = 0;  // the last step; the longest while requests decoded
  std::int64_t beside_tokens = 0;          // of prompts, that a step reads beside decoding now
};

}  // namespace spectralkv
