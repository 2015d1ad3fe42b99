// Norms, activations, rotary embedding, softmax parts and the mix of values.

namespace {

// exp(x) to 2 ulp and |x| / 2^26 of it (|x| / 2^23 where vec_fma rounds twice); 0 below -87.3 (and at
// -infinity), infinity is not produced: x is clamped at 88. exp(x) = 2^n 2^r, |r| <= 1/2, 2^r by the
// polynomial of degree 5 that is 1 at 0 and whose largest relative error there, 9.2e-8, is the smallest.
inline Vec vec_exp(Vec x) {
  const Vec log2_e = vec_set1(1.44269504f);
  const Vec clamped = vec_max(vec_min(x, vec_set1(88.0f)), vec_set1(-87.3f));
  const Vec n = vec_round(vec_mul(clamped, log2_e));
  const Vec r = vec_fma(clamped, log2_e, vec_sub(vec_set1(0.0f), n));
  Vec p = vec_set1(0.0013264727f);
  p = vec_fma(p, r, vec_set1(0.009671513f));
  p = vec_fma(p, r, vec_set1(0.055507336f));
  p = vec_fma(p, r, vec_set1(0.24022242f));
  p = vec_fma(p, r, vec_set1(0.693147f));
  p = vec_fma(p, r, vec_set1(1.0f));
  return vec_keep_from(vec_scale2(p, n), x, -87.3f);
}

// Calls f(offset, count) for 16 values at a time and once for the rest.
template <class F>
inline void in_steps(int64_t n, F f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, 16);
  if (i < n) f(i, (int)(n - i));
}

inline Vec load_some(const float* p, int count) {
  return count == 16 ? vec_load(p) : vec_load_n(p, count);
}
inline void store_some(float* p, Vec a, int count) {
  if (count == 16)
    vec_store(p, a);
  else
    vec_store_n(p, a, count);
}

inline float vec_sum(Vec a) {
  float sums[4];
  const Vec zero = vec_set1(0.0f);
  vec_reduce4(a, zero, zero, zero, sums);
  return sums[0];
}

void rms_norm(const float* x, const float* gain, float eps, int64_t n, float* out) {
  Vec acc = vec_set1(0.0f);
  in_steps(n, [&](int64_t i, int count) {
    const Vec v = load_some(x + i, count);
    acc = vec_fma(v, v, acc);
  });
  const Vec s = vec_set1(1.0f / __builtin_sqrtf(vec_sum(acc) / (float)n + eps));
  in_steps(n, [&](int64_t i, int count) {
    store_some(out + i, vec_mul(vec_mul(load_some(x + i, count), s), load_some(gain + i, count)), count);
  });
}

void silu_mul(float* gate, const float* up, int64_t n) {
  const Vec one = vec_set1(1.0f), zero = vec_set1(0.0f);
  in_steps(n, [&](int64_t i, int count) {
    const Vec g = load_some(gate + i, count);
    const Vec silu = vec_div(g, vec_add(one, vec_exp(vec_sub(zero, g))));
    store_some(gate + i, vec_mul(silu, load_some(up + i, count)), count);
  });
}

void add(float* x, const float* y, int64_t n) {
  in_steps(n, [&](int64_t i, int count) {
    store_some(x + i, vec_add(load_some(x + i, count), load_some(y + i, count)), count);
  });
}

void scale(float* x, float s, int64_t n) {
  const Vec f = vec_set1(s);
  in_steps(n, [&](int64_t i, int count) { store_some(x + i, vec_mul(load_some(x + i, count), f), count); });
}

void rope(float* x, const float* cos_sin, int64_t n) {
  in_steps(n, [&](int64_t i, int count) {
    const Vec v = load_some(x + i, count), cs = load_some(cos_sin + i, count);
    const Vec turned = vec_addsub(vec_mul(v, vec_dup_even(cs)), vec_mul(vec_swap_pairs(v), vec_dup_odd(cs)));
    store_some(x + i, turned, count);
  });
}

float max(const float* x, int64_t n) {
  if (n < 16) {
    float m = x[0];
    for (int64_t i = 1; i < n; ++i) m = x[i] > m ? x[i] : m;
    return m;
  }
  Vec m = vec_load(x);
  for (int64_t i = 16; i + 16 <= n; i += 16) m = vec_max(m, vec_load(x + i));
  return vec_reduce_max(vec_max(m, vec_load(x + n - 16)));
}

float exp_sum(float* x, float offset, int64_t n) {
  const Vec o = vec_set1(offset);
  Vec acc = vec_set1(0.0f);
  in_steps(n, [&](int64_t i, int count) {
    const Vec e = vec_exp(vec_sub(load_some(x + i, count), o));
    store_some(x + i, e, count);
    acc = vec_add(acc, count == 16 ? e : load_some(x + i, count));  // lanes past the end are 0
  });
  return vec_sum(acc);
}

void to_f16(const float* x, uint16_t* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) vec_store_f16(out + i, vec_load(x + i));
  for (; i < n; ++i) out[i] = skv_f32_to_f16(x[i]);
}

void from_f16(const uint16_t* x, float factor, float* out, int64_t n) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) vec_store(out + i, vec_mul(vec_load_f16(x + i), vec_set1(factor)));
  for (; i < n; ++i) out[i] = skv_f16_to_f32(x[i]) * factor;
}

void from_square_bytes(const uint8_t* x, float factor, float* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const auto c = static_cast<int>(x[i]);  // squares stay whole numbers: every instruction set rounds once
    out[i] = static_cast<float>(c * c) * factor;
  }
}

void hadamard(float* x, int64_t n) {
  if (n < 16) {
    for (int64_t half = 1; half < n; half *= 2)
      for (int64_t i = 0; i < n; ++i)
        if ((i & half) == 0) {
          const float a = x[i], b = x[i + half];
          x[i] = a + b;
          x[i + half] = a - b;
        }
    return;
  }
  for (int64_t i = 0; i < n; i += 16)
    vec_store(x + i, vec_butterfly<8>(vec_butterfly<4>(vec_butterfly<2>(vec_butterfly<1>(vec_load(x + i))))));
  for (int64_t half = 16; half < n; half *= 2)
    for (int64_t start = 0; start < n; start += 2 * half)
      for (int64_t i = start; i < start + half; i += 16) {
        const Vec a = vec_load(x + i), b = vec_load(x + i + half);
        vec_store(x + i, vec_add(a, b));
        vec_store(x + i + half, vec_sub(a, b));
      }
}

inline Vec load_value(const float* p, int count) {
  return load_some(p, count);
}
inline Vec load_value(const uint16_t* p, int count) {
  if (count == 16) return vec_load_f16(p);
  float wide[16] = {0};
  for (int i = 0; i < count; ++i) wide[i] = skv_f16_to_f32(p[i]);
  return vec_load(wide);
}

// C vectors of R rows of acc stay in registers over all j.
template <int R, int C, class T>
inline void mix_columns(const float* p, int64_t ldp, const T* v, int64_t ldv, int64_t n, float* acc,
                        int64_t lda, int last) {
  Vec sum[R][C];
  SKV_FLAT for (int r = 0; r < R; ++r) SKV_FLAT for (int c = 0; c < C; ++c) sum[r][c] =
      load_some(acc + r * lda + 16 * c, c + 1 < C ? 16 : last);
  for (int64_t j = 0; j < n; ++j) {
    Vec value[C];
    SKV_FLAT for (int c = 0; c < C; ++c) value[c] = load_value(v + j * ldv + 16 * c, c + 1 < C ? 16 : last);
    SKV_FLAT for (int r = 0; r < R; ++r) {
      const Vec probability = vec_set1(p[r * ldp + j]);
      SKV_FLAT for (int c = 0; c < C; ++c) sum[r][c] = vec_fma(probability, value[c], sum[r][c]);
    }
  }
  SKV_FLAT for (int r = 0; r < R; ++r) SKV_FLAT for (int c = 0; c < C; ++c)
      store_some(acc + r * lda + 16 * c, sum[r][c], c + 1 < C ? 16 : last);
}

template <int R, class T>
inline void mix_rows(const float* p, int64_t ldp, int64_t tokens, const T* v, int64_t ldv, int64_t n,
                     int64_t d, float* acc, int64_t lda) {
  for (; tokens >= R; tokens -= R, p += R * ldp, acc += R * lda) {
    int64_t c = 0;
    for (; c + 16 * kMixColumns <= d; c += 16 * kMixColumns)
      mix_columns<R, kMixColumns>(p, ldp, v + c, ldv, n, acc + c, lda, 16);
    for (; c < d; c += 16)
      mix_columns<R, 1>(p, ldp, v + c, ldv, n, acc + c, lda, d - c < 16 ? (int)(d - c) : 16);
  }
  if constexpr (R > 1) {
    if (tokens > 0) mix_rows<R - 1>(p, ldp, tokens, v, ldv, n, d, acc, lda);
  }
}

template <class T>
void mix(const float* p, int64_t ldp, int64_t tokens, const T* v, int64_t ldv, int64_t n, int64_t d,
         float* acc, int64_t lda) {
  mix_rows<kMixTokens>(p, ldp, tokens, v, ldv, n, d, acc, lda);
}

}  // namespace
