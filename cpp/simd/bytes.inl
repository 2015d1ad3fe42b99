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
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) {
    Vec v[4];
    for (int j = 0; j < 4; ++j) {
      v[j] = vec_load(x + i + 16 * j);
      if (scale != nullptr) v[j] = vec_mul(v[j], vec_load(scale + i + 16 * j));
    }
    f(i, v);
  }
  if (i == n) return;
  Vec v[4];
  for (int j = 0; j < 4; ++j) {
    const int64_t at = i + 16 * j, left = n - at;
    v[j] = vec_set1(0.0f);
    if (left <= 0) continue;
    const int count = left < 16 ? (int)left : 16;
    v[j] = load_some(x + at, count);
    if (scale != nullptr) v[j] = vec_mul(v[j], load_some(scale + at, count));
  }
  f(i, v);
}

// The largest of measure(v) over a row.
template <class Measure>
inline float row_most(const float* x, const float* scale, int64_t n, Measure measure) {
  const Vec zero = vec_set1(0.0f);
  Vec largest[4] = {zero, zero, zero, zero};
  in_quads(x, scale, n, [&](int64_t, const Vec* v) {
    for (int j = 0; j < 4; ++j) largest[j] = vec_max(largest[j], measure(v[j]));
  });
  return row_top(vec_max(vec_max(largest[0], largest[1]), vec_max(largest[2], largest[3])));
}

// The sum of a row's numbers is exact below 2^24. If it is no number, nor is the step.
void to_bytes(const float* x, int64_t ldx, int64_t m, int64_t n, int8_t* values, int64_t ld, float* steps,
              int32_t* sums) {
  const Vec zero = vec_set1(0.0f);
  for (int64_t t = 0; t < m; ++t, x += ldx, values += ld) {
    const float top = row_most(x, nullptr, n, [&](Vec v) { return vec_max(v, vec_sub(zero, v)); });
    const Vec inverse = vec_set1(127.0f / top);
    Vec total = zero;
    in_quads(x, nullptr, n, [&](int64_t i, const Vec* v) {
      Vec number[4];
      for (int j = 0; j < 4; ++j) number[j] = vec_round(vec_mul(v[j], inverse));
      total = vec_add(total, vec_add(vec_add(number[0], number[1]), vec_add(number[2], number[3])));
      store_bytes(values + i, number);
    });
    const float sum = vec_sum(total);
    steps[t] = sum == sum ? top / 127.0f : sum;
    sums[t] = sum == sum ? (int32_t)sum : 0;
  }
}

void to_probability_bytes(const float* x, int64_t ldx, int64_t m, int64_t n, const float* scale,
                          uint8_t* values, int64_t ld, float* steps) {
  for (int64_t t = 0; t < m; ++t, x += ldx, values += ld) {
    const float top = row_most(x, scale, n, [](Vec v) { return v; });
    const Vec inverse = vec_set1(255.0f / top);
    in_quads(x, scale, n, [&](int64_t i, const Vec* v) {
      Vec number[4];
      for (int j = 0; j < 4; ++j) number[j] = vec_round(vec_mul(v[j], inverse));
      store_unsigned_bytes(values + i, number);
    });
    steps[t] = top / 255.0f;
  }
}

}  // namespace
