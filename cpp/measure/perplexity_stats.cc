// Log-softmax and sums in double.
#include "measure/perplexity_stats.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace spectralkv {
namespace {

struct Normaliser {
  double log_sum = 0;  // of exp(logit)
  std::int64_t top = 0;
};

// weights[i] = exp(logits[i] - max), which `log_sum` and the caller share.
Normaliser normalise(const float* logits, std::int64_t n, double* weights) {
  Normaliser result;
  result.top = std::max_element(logits, logits + n) - logits;
  const double top = static_cast<double>(logits[result.top]);
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double w = std::exp(static_cast<double>(logits[i]) - top);
    if (weights != nullptr) weights[i] = w;
    sum += w;
  }
  result.log_sum = top + std::log(sum);
  check(std::isfinite(result.log_sum), "measure", "the model gave logits that are not finite");
  return result;
}

double square(double x) {
  return x * x;
}

}  // namespace

void score_rows(ThreadPool& pool, ConstMatrix logits, ConstMatrix base, std::span<const Token> next,
                std::span<PositionScore> out) {
  const std::int64_t n = logits.cols;
  std::vector<std::vector<double>> weights(static_cast<std::size_t>(pool.size()));
  pool.for_each(logits.rows, [&](std::int64_t r, int thread) {
    const float* const x = logits.row(r);
    const Token token = next[static_cast<std::size_t>(r)];
    PositionScore& score = out[static_cast<std::size_t>(r)];
    score = {};
    score.predicts = token >= 0;
    const Normaliser test = normalise(x, n, nullptr);
    if (score.predicts) score.logprob = static_cast<double>(x[token]) - test.log_sum;
    if (base.rows == 0) return;
    const float* const y = base.row(r);
    auto& w = weights[static_cast<std::size_t>(thread)];
    w.resize(static_cast<std::size_t>(n));
    const Normaliser other = normalise(y, n, w.data());
    if (score.predicts) score.base_logprob = static_cast<double>(y[token]) - other.log_sum;
    const double scale = std::exp(static_cast<double>(y[other.top]) - other.log_sum);
    const double offset = test.log_sum - other.log_sum;
    double kl = 0;
    for (std::int64_t i = 0; i < n; ++i)
      kl += w[static_cast<std::size_t>(i)] * (static_cast<double>(y[i]) - static_cast<double>(x[i]) + offset);
    score.kl = kl * scale;
    score.same_top = test.top == other.top;
  });
}

Estimate mean_of(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  if (values.empty()) return {};
  double sum = 0, squares = 0;
  for (const double v : values) sum += v;
  const double mean = sum / n;
  for (const double v : values) squares += square(v - mean);
  return {mean, n > 1 ? std::sqrt(squares / (n - 1) / n) : 0};
}

double quantile(std::span<const double> sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at), high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

Estimate perplexity_of(std::span<const double> logprobs) {
  const Estimate log = mean_of(logprobs);
  const double ppl = std::exp(-log.value);
  return {ppl, ppl * log.error};
}

PerplexityResult::Comparison compare(std::span<const PositionScore> scores) {
  std::vector<double> kl, base, ratio, dp, dp2, same;
  for (const PositionScore& s : scores) {
    kl.push_back(s.kl);
    same.push_back(s.same_top ? 1 : 0);
    if (!s.predicts) continue;
    base.push_back(s.base_logprob);
    ratio.push_back(s.base_logprob - s.logprob);
    dp.push_back(std::exp(s.logprob) - std::exp(s.base_logprob));
    dp2.push_back(square(dp.back()));
  }
  PerplexityResult::Comparison c;
  c.ppl_base = perplexity_of(base);
  c.log_ppl_ratio = mean_of(ratio);
  c.kl = mean_of(kl);
  std::sort(kl.begin(), kl.end());
  c.kl_max = kl.back();
  c.kl_p999 = quantile(kl, 0.999);
  c.kl_p99 = quantile(kl, 0.99);
  c.kl_p95 = quantile(kl, 0.95);
  c.kl_p90 = quantile(kl, 0.90);
  c.kl_median = quantile(kl, 0.5);
  c.mean_dp = mean_of(dp);
  const Estimate squared = mean_of(dp2);
  c.rms_dp.value = std::sqrt(squared.value);
  if (squared.value > 0) c.rms_dp.error = squared.error / (2 * c.rms_dp.value);
  c.same_top = mean_of(same);
  return c;
}

}  // namespace spectralkv
