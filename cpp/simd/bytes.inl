// Rows of floats to whole numbers and a step (ByteRows of kernels.h). What a row becomes depends on it alone.

namespace {

// The larger of max |x[i]| and of a number that keeps 1 / it finite.
inline float row_top(Vec largest) {
  const float top = vec_reduce_max(largest);
  return top > 1e-30f ? top : 1e-30f;
}

// Calls f(offset, v) for 64 values at a time, times scale where there is one, zeros behind the n-th.
template <class F>
inline void in_quads(const float* x, const float* scale, int64_t n, F f) {
  for (int64_t i = 0; i < n; i += 64) {
    Vec v[4];
    for (int j = 0; j < 4; ++j) {
      const int64_t at = i + 16 * j, left = n - at;
      if (left <= 0) {
        v[j] = vec_set1(0.0f);
        continue;
      }
      const int count = left < 16 ? (int)left : 16;
      v[j] = load_some(x + at, count);
      if (scale != nullptr) v[j] = vec_mul(v[j], load_some(scale + at, count));
    }
    f(i, v);
  }
}

// Returns the sum of the row's numbers, exact below 2^24, and sets what one stands for. If the sum is no
// number, nor is the step.
template <class Store>
inline float round_row(const float* x, const float* scale, int64_t n, float most, float* step, Store store) {
  const Vec zero = vec_set1(0.0f);
  Vec largest[4] = {zero, zero, zero, zero};
  in_quads(x, scale, n, [&](int64_t, const Vec* v) {
    for (int j = 0; j < 4; ++j) largest[j] = vec_max(largest[j], vec_max(v[j], vec_sub(zero, v[j])));
  });
  const float top = row_top(vec_max(vec_max(largest[0], largest[1]), vec_max(largest[2], largest[3])));
  const Vec inverse = vec_set1(most / top);
  Vec sums[4] = {zero, zero, zero, zero};
  in_quads(x, scale, n, [&](int64_t i, const Vec* v) {
    Vec number[4];
    for (int j = 0; j < 4; ++j) {
      number[j] = vec_round(vec_mul(v[j], inverse));
      sums[j] = vec_add(sums[j], number[j]);
    }
    store(i, number);
  });
  const float total = vec_sum(vec_add(vec_add(sums[0], sums[1]), vec_add(sums[2], sums[3])));
  *step = total == total ? top / most : total;
  return total;
}

void to_bytes(const float* x, int64_t ldx, int64_t m, int64_t n, int8_t* values, int64_t ld, float* steps,
              int32_t* sums) {
  for (int64_t t = 0; t < m; ++t, x += ldx, values += ld) {
    const float total = round_row(x, nullptr, n, 127.0f, steps + t,
                                  [&](int64_t i, const Vec* v) { store_bytes(values + i, v); });
    sums[t] = total == total ? (int32_t)total : 0;
  }
}

void to_weight_bytes(const float* x, int64_t ldx, int64_t m, int64_t n, const float* scale, uint8_t* values,
                     int64_t ld, float* steps) {
  for (int64_t t = 0; t < m; ++t, x += ldx, values += ld)
    round_row(x, scale, n, 255.0f, steps + t, [&](int64_t i, const Vec* v) { store_weights(values + i, v); });
}

}  // namespace
