// A mixture of experts against plain loops, and with rows beside each other.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backend/backends.h"
#include "backend/route.h"
#include "base/random.h"

namespace spectralkv {
namespace {

constexpr std::int64_t kExperts = 5, kUsed = 3, kEmbd = 40, kFf = 24;

std::vector<float> normal(std::int64_t n, std::uint64_t seed) {
  std::vector<float> x(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random_normal(seed, i));
  return x;
}

std::vector<WeightView> matrices(const std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
  std::vector<WeightView> all;
  for (std::int64_t e = 0; e < kExperts; ++e) {
    WeightView& w = all.emplace_back();
    w.data = reinterpret_cast<const std::byte*>(values.data() + e * rows * cols);
    w.rows = rows;
    w.cols = cols;
  }
  return all;
}

class Mixture {
 public:
  explicit Mixture(int n_threads) : backend_(make_backend({.n_threads = n_threads}, 1)) {}

  std::vector<float> run(std::vector<float> logits, std::vector<float> x) {
    const auto n = static_cast<std::int64_t>(x.size()) / kEmbd;
    std::vector<float> gate_rows(static_cast<std::size_t>(n * kUsed * kFf)), up_rows(gate_rows.size());
    std::vector<float> rows(static_cast<std::size_t>(n * kUsed * kEmbd));
    const Matrix in(x.data(), n, kEmbd);
    backend_->experts({{logits.data(), n, kExperts},
                       kUsed,
                       gate,
                       up,
                       down,
                       in,
                       {gate_rows.data(), n * kUsed, kFf},
                       {up_rows.data(), n * kUsed, kFf},
                       {rows.data(), n * kUsed, kEmbd},
                       in});
    return x;
  }

  const std::vector<float> gates = normal(kExperts * kFf * kEmbd, 1), ups = normal(kExperts * kFf * kEmbd, 2),
                           downs = normal(kExperts * kEmbd * kFf, 3);
  const std::vector<WeightView> gate = matrices(gates, kFf, kEmbd), up = matrices(ups, kFf, kEmbd),
                                down = matrices(downs, kEmbd, kFf);

 private:
  std::unique_ptr<Backend> backend_;
};

double product(const std::vector<float>& w, std::int64_t row, std::int64_t cols, const double* x) {
  double sum = 0;
  for (std::int64_t c = 0; c < cols; ++c)
    sum += static_cast<double>(w[static_cast<std::size_t>(row * cols + c)]) * x[c];
  return sum;
}

std::vector<double> plain(const Mixture& m, const float* logits, const float* x) {
  std::vector<double> out(kEmbd), wide(x, x + kEmbd), hidden(kFf), weights(kExperts);
  std::vector<bool> chosen(kExperts);
  for (std::int64_t j = 0; j < kUsed; ++j) {
    std::size_t best = kExperts;
    for (std::size_t e = 0; e < kExperts; ++e)
      if (!chosen[e] && (best == kExperts || logits[e] > logits[best])) best = e;
    chosen[best] = true;
  }
  double sum = 0;
  for (std::size_t e = 0; e < kExperts; ++e)
    if (chosen[e]) sum += weights[e] = std::exp(static_cast<double>(logits[e]));
  for (std::int64_t e = 0; e < kExperts; ++e) {
    const double weight = weights[static_cast<std::size_t>(e)] / sum;
    if (weight == 0) continue;
    for (std::int64_t f = 0; f < kFf; ++f) {
      const double g = product(m.gates, e * kFf + f, kEmbd, wide.data());
      hidden[static_cast<std::size_t>(f)] =
          g / (1 + std::exp(-g)) * product(m.ups, e * kFf + f, kEmbd, wide.data());
    }
    for (std::int64_t c = 0; c < kEmbd; ++c)
      out[static_cast<std::size_t>(c)] += weight * product(m.downs, e * kEmbd + c, kFf, hidden.data());
  }
  return out;
}

TEST(Experts, AreAsPlainLoopsHaveThemWhateverIsBesideARow) {
  constexpr std::int64_t n = 37;
  Mixture one(1), three(3);
  const auto logits = normal(n * kExperts, 4), x = normal(n * kEmbd, 5);
  const auto all = one.run(logits, x);
  EXPECT_EQ(three.run(logits, x), all);
  for (std::int64_t t = 0; t < n; ++t) {
    const std::vector<float> row(x.begin() + t * kEmbd, x.begin() + (t + 1) * kEmbd);
    const std::vector<float> own(logits.begin() + t * kExperts, logits.begin() + (t + 1) * kExperts);
    EXPECT_EQ(one.run(own, row), std::vector<float>(all.begin() + t * kEmbd, all.begin() + (t + 1) * kEmbd));
    const auto expected = plain(one, own.data(), row.data());
    double error = 0, norm = 0;
    for (std::size_t c = 0; c < kEmbd; ++c) {
      const double got = static_cast<double>(all[static_cast<std::size_t>(t * kEmbd) + c]);
      error += (got - expected[c]) * (got - expected[c]);
      norm += expected[c] * expected[c];
    }
    EXPECT_LT(std::sqrt(error / norm), 1e-5) << "row " << t;
  }
}

TEST(Experts, EqualLogitsGoToTheFirstAndNanToNone) {
  const float nan = NAN, logits[] = {1, 3, 3, nan, 3, -INFINITY};
  Route routes[6];
  choose_experts(logits, 6, 4, routes);
  const int expected[] = {1, 2, 4, 0};
  for (int j = 0; j < 4; ++j) EXPECT_EQ(routes[j].expert, expected[j]);
  EXPECT_NEAR(routes[0].weight, 1 / (3 + std::exp(-2.0f)), 1e-6f);
  const float none[] = {nan, nan, nan};
  choose_experts(none, 3, 3, routes);  // still three experts that there are
  for (int j = 0; j < 3; ++j) EXPECT_EQ(routes[j].expert, j);
}

}  // namespace
}  // namespace spectralkv
