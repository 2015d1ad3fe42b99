// Distributions of single positions compared, and their statistics.
#pragma once

#include <span>
#include <vector>

#include "base/threads.h"
#include "measure/perplexity.h"
#include "tensor/matrix.h"

namespace spectralkv {

// What one position contributes. `next` < 0: the position predicts nothing.
struct PositionScore {
  double logprob = 0, base_logprob = 0;  // of the next token, natural logarithm
  double kl = 0;                         // sum of base p * (base log p - log p)
  bool same_top = false, predicts = false;
};

// Row i of logits, [n, n_vocab], predicts next[i]. base: logits of the cache to compare with, or no rows. The
// scores do not depend on the number of threads. A logit that is not finite is a value error.
void score_rows(ThreadPool& pool, ConstMatrix logits, ConstMatrix base, std::span<const Token> next,
                std::span<PositionScore> out);

Estimate mean_of(std::span<const double> values);
// Linear between the nearest ranks; sorted: rising, not empty.
double quantile(std::span<const double> sorted, double q);

// exp(mean negative log-probability), with its error to first order.
Estimate perplexity_of(std::span<const double> logprobs);
PerplexityResult::Comparison compare(std::span<const PositionScore> scores);

}  // namespace spectralkv
