// By logits in double, so that the choice does not depend on the instruction set.
#include "kv/drawn_rows.h"

#include <algorithm>
#include <cassert>
#include <vector>

#include "quant/row_math.h"

namespace spectralkv {

DrawnRows::DrawnRows(ConstMatrix keys, ConstMatrix queries, int most, double above) {
  assert(most <= kMost && keys.rows <= 65536);
  const auto n = static_cast<std::size_t>(keys.rows);
  std::vector<double> excess(n), logits(n), sorted;
  for (std::int64_t g = 0; g < queries.rows; ++g) {
    for (std::size_t t = 0; t < n; ++t)
      logits[t] =
          dot_in_double(queries.row(g), keys.row(static_cast<std::int64_t>(t)), static_cast<int>(keys.cols));
    sorted = logits;
    const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(n / 2);
    std::nth_element(sorted.begin(), middle, sorted.end());
    for (std::size_t t = 0; t < n; ++t)
      excess[t] = g == 0 ? logits[t] - *middle : std::max(excess[t], logits[t] - *middle);
  }
  std::vector<std::uint16_t> order;
  for (std::size_t t = 0; t < n; ++t)
    if (excess[t] > above) order.push_back(static_cast<std::uint16_t>(t));
  std::stable_sort(order.begin(), order.end(),
                   [&](std::uint16_t a, std::uint16_t b) { return excess[a] > excess[b]; });
  n_ = std::min(most, static_cast<int>(order.size()));
  std::copy_n(order.begin(), n_, rows_.begin());
}

}  // namespace spectralkv
