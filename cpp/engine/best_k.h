// The k largest logits of a vocabulary, without sorting the rest.
#pragma once

#include <cstddef>
#include <span>
#include <utility>
#include <vector>

#include "tokenizer/tokenizer.h"

namespace spectralkv {

using Candidate = std::pair<float, Token>;  // logit, id

// The order of candidates: higher logit first, then lower id.
bool better_candidate(const Candidate& a, const Candidate& b);

// Leaves the k best of logits, [n_vocab], in `out`, best first; all of them when k is more than there are.
void best_k(std::span<const float> logits, std::size_t k, std::vector<Candidate>& out);

}  // namespace spectralkv
