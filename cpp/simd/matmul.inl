// Matrix times activations. Each output is one vector of 16 partial sums over rising k, then one fixed
// reduction, whatever the tile: so one token or many, in any batch, give the same bits.

namespace {

constexpr int64_t kTokenBlock = 96;  // activations of so many tokens stay in the second-level cache

// Four rows times T tokens; the first `rows` (1 to 4) results a token are stored. Rows::block gives whole
// blocks of 32; f32 rows alone may have a remainder.
template <int T, class Rows>
inline void tile(const Rows& w, int rows, int64_t n, const float* x, int64_t ldx, float* y, int64_t ldy) {
  Vec acc[4][T];
  SKV_FLAT for (int r = 0; r < 4; ++r) SKV_FLAT for (int t = 0; t < T; ++t) acc[r][t] = vec_set1(0.0f);
  const int64_t blocks = n / 32;
  for (int64_t b = 0; b < blocks; ++b) {
    Vec low[4], high[4];
    SKV_FLAT for (int r = 0; r < 4; ++r) w.block(r, b, &low[r], &high[r]);
    SKV_FLAT for (int t = 0; t < T; ++t) {
      const Vec xl = vec_load(x + t * ldx + 32 * b), xh = vec_load(x + t * ldx + 32 * b + 16);
      SKV_FLAT for (int r = 0; r < 4; ++r) acc[r][t] = vec_fma(low[r], xl, acc[r][t]);
      SKV_FLAT for (int r = 0; r < 4; ++r) acc[r][t] = vec_fma(high[r], xh, acc[r][t]);
    }
  }
  if constexpr (Rows::kAnyLength) {
    for (int64_t k = 32 * blocks; k < n; k += 16) {
      const int left = n - k < 16 ? (int)(n - k) : 16;
      SKV_FLAT for (int t = 0; t < T; ++t) {
        const Vec xs = vec_load_n(x + t * ldx + k, left);
        SKV_FLAT for (int r = 0; r < 4; ++r) acc[r][t] = vec_fma(vec_load_n(w.p[r] + k, left), xs, acc[r][t]);
      }
    }
  }
  SKV_FLAT for (int t = 0; t < T; ++t) {
    float sums[4];
    vec_reduce4(acc[0][t], acc[1][t], acc[2][t], acc[3][t], sums);
    for (int r = 0; r < rows; ++r) y[t * ldy + r] = sums[r];
  }
}

template <int T, class Rows>
inline void tiles(const Rows& w, int rows, int64_t n, const float* x, int64_t ldx, int64_t tokens, float* y,
                  int64_t ldy) {
  while (tokens >= T) {
    tile<T>(w, rows, n, x, ldx, y, ldy);
    x += T * ldx;
    y += T * ldy;
    tokens -= T;
  }
  if constexpr (T > 1) {
    if (tokens > 0) tiles<T - 1>(w, rows, n, x, ldx, tokens, y, ldy);
  }
}

// Rows: how the type's rows are read as they are, for few tokens; NoRows where they are always decoded first.
template <class Rows, skv_decode_fn decode>
void matmul(const void* w, int64_t row_bytes, int64_t rows, int64_t n, const float* x, int64_t ldx,
            int64_t tokens, float* y, int64_t ldy, float* work) {
  const uint8_t* first = (const uint8_t*)w;
  const bool is_f32 = decode == skv_decode_f32;
  for (int64_t t0 = 0; t0 < tokens; t0 += kTokenBlock) {
    const int64_t t_count = tokens - t0 < kTokenBlock ? tokens - t0 : kTokenBlock;
    for (int64_t r0 = 0; r0 < rows; r0 += 4) {
      const int count = rows - r0 < 4 ? (int)(rows - r0) : 4;
      const float* xs = x + t0 * ldx;
      float* ys = y + t0 * ldy + r0;
      if constexpr (Rows::kDirect) {
        if (tokens <= kFusedTokens && n % 32 == 0) {
          Rows direct;
          for (int r = 0; r < 4; ++r) direct.set(r, first + (r0 + (r < count ? r : 0)) * row_bytes);
          tiles<kFusedTokens>(direct, count, n, xs, ldx, t_count, ys, ldy);
          continue;
        }
      }
      F32Rows decoded;
      for (int r = 0; r < 4; ++r) {
        const void* row = first + (r0 + (r < count ? r : 0)) * row_bytes;
        if (!is_f32) {
          float* out = work + r * (n + 32);
          if (r < count || r == 0) decode(row, out, n);
          row = r < count ? out : work;
        }
        decoded.set(r, row);
      }
      tiles<kTileTokens>(decoded, count, n, xs, ldx, t_count, ys, ldy);
    }
  }
}

}  // namespace
