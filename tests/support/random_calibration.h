// Calibrations of no model: random stretches, mean queries and harms.
#pragma once

#include <cmath>
#include <vector>

#include "kv/calibration.h"
#include "spectral/metric.h"
#include "support/compare.h"

namespace spectralkv::testing_support {

// [d, d] = X^T X of random X [2 d, d] whose columns have sizes from 1 / spread to spread.
inline std::vector<double> random_moments(std::int64_t d, double spread, std::uint64_t seed) {
  const auto x = normals(seed, static_cast<std::size_t>(2 * d * d));
  std::vector<double> m(static_cast<std::size_t>(d * d));
  const auto size = [&](std::int64_t c) {
    return std::pow(spread, 2 * random_uniform(seed + 1, static_cast<std::uint64_t>(c)) - 1);
  };
  for (std::int64_t i = 0; i < d; ++i)
    for (std::int64_t j = 0; j < d; ++j) {
      double sum = 0;
      for (std::int64_t t = 0; t < 2 * d; ++t)
        sum += static_cast<double>(x[static_cast<std::size_t>(t * d + i)]) *
               static_cast<double>(x[static_cast<std::size_t>(t * d + j)]);
      m[static_cast<std::size_t>(i * d + j)] = sum * size(i) * size(j);
    }
  return m;
}

// queries: how long mean queries are; at 1 about one of 100 random rows of unit entries stands 3 above the
// others' middle.
inline HeadCalibration random_head(std::int64_t d, std::int64_t group, std::uint64_t seed,
                                   double queries = 1) {
  HeadCalibration head;
  head.metric = Buffer<float>(static_cast<std::size_t>(d * d));
  query_metric(random_moments(d, 4, seed), random_moments(d, 2, seed + 10), 0.05, {head.metric.data(), d, d});
  head.queries = Buffer<float>(static_cast<std::size_t>(group * d));
  const auto q = normals(seed + 20, static_cast<std::size_t>(group * d),
                         1.3 * queries / std::sqrt(static_cast<double>(d)));
  std::copy(q.begin(), q.end(), head.queries.data());
  for (std::size_t side = 0; side < 2; ++side)
    head.harm[side] = static_cast<float>(std::exp(3 * random_normal(seed + 30, side)));
  return head;
}

inline std::shared_ptr<const Calibration> random_calibration(const CacheShape& shape, std::int64_t group,
                                                             std::uint64_t seed = 1) {
  std::vector<HeadCalibration> heads;
  for (std::int64_t i = 0; i < shape.n_layers * shape.n_kv_heads; ++i)
    heads.push_back(random_head(shape.head_dim, group, seed + 100 * static_cast<std::uint64_t>(i)));
  return std::make_shared<const Calibration>(shape, group, 0x1234, 3, std::move(heads));
}

}  // namespace spectralkv::testing_support
