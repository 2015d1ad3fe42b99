// Sums over a row in double and a fixed order, and f16 scales, for the quantisers of this room.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "base/error.h"
#include "base/half.h"
#include "quant/code_math.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Four interleaved sums: fixed order, no chain of dependent additions.
inline double dot_in_double(const float* a, const float* b, int n) {
  double sum[4] = {};
  int i = 0;
  for (; i + 4 <= n; i += 4)
    for (int lane = 0; lane < 4; ++lane)
      sum[lane] += static_cast<double>(a[i + lane]) * static_cast<double>(b[i + lane]);
  for (; i < n; ++i) sum[0] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

inline void check_finite(ConstMatrix rows) {
  for (std::int64_t r = 0; r < rows.rows; ++r)
    for (std::int64_t c = 0; c < rows.cols; ++c)
      check(std::isfinite(rows(r, c)), "quant", "vectors [", rows.rows, ", ", rows.cols, "] hold ",
            rows(r, c), " at row ", r, ", column ", c);
}

}  // namespace spectralkv
