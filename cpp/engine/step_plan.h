// What one step reads: which tokens of which requests.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/sequence.h"
#include "kv/step.h"

namespace spectralkv {

struct StepPlan {
  std::vector<Sequence*> sequences;
  std::vector<StepPart> parts;  // one of each
  std::int64_t prompt_tokens = 0, decoding = 0;

  void add(Sequence& sequence, std::int64_t n) {
    const auto first = static_cast<std::size_t>(sequence.n_read()), count = static_cast<std::size_t>(n);
    (sequence.decodes() ? decoding : prompt_tokens) += n;
    sequences.push_back(&sequence);
    parts.push_back({sequence.cache.get(), std::span<const Token>(sequence.tokens).subspan(first, count),
                     n == sequence.unread() ? 1 : 0});
  }
};

}  // namespace spectralkv
