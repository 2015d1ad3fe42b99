// What a forward pass asks of caches: which tokens of which sequences, and how their queries attend.
#pragma once

#include <cstdint>
#include <span>

namespace spectralkv {

class KvCache;

// The next tokens of one sequence; the last n_logits of them get logits.
struct StepPart {
  KvCache* cache = nullptr;              // its length is the position of the first token
  std::span<const std::int32_t> tokens;  // at least one
  std::int64_t n_logits = 0;

  std::int64_t n() const { return std::ssize(tokens); }
};
// What one forward pass reads, of any number of sequences, each of them once: rows stand in this order.
using Step = std::span<const StepPart>;

// Rows of a step, and of its logits.
struct StepRows {
  std::int64_t n = 0, n_logits = 0;
};
inline StepRows rows_of(Step step) {
  StepRows rows;
  for (const StepPart& part : step) rows.n += part.n(), rows.n_logits += part.n_logits;
  return rows;
}

struct AttentionShape {
  std::int64_t n_heads = 0;         // query heads, a multiple of the cache's KV heads
  float scale = 0;                  // of the logits, 1 / sqrt(head_dim)
  std::int64_t sliding_window = 0;  // tokens that a query sees, itself included; 0: all
};

}  // namespace spectralkv
