// Products with matrices of codes (formats/bitpack.h): codes become levels in registers, and several tokens
// share each lookup. Sums run as in the matmul and the mix of dense rows.

namespace {

constexpr int64_t kUnpackedColumns = 256;
constexpr int kColumnTokens = 4;  // that share the levels of a row that comes alone

// What codes stand for: entries of a table, or whole numbers.
template <int bits>
struct TableCodes : CodeLevels<bits> {
  static constexpr int kBits = bits;
  using CodeLevels<bits>::CodeLevels;
};
template <int bits>
struct WholeCodes {
  static constexpr int kBits = bits;
  explicit WholeCodes(const float*) {}
  Vec at(const uint8_t* row, int64_t d, int64_t i) const {
    return vec_sub(vec_code_numbers<bits>(row, d, i), vec_set1((float)(1 << (bits - 1))));
  }
};

// R rows times T tokens; the first `rows` results a token are stored.
template <int T, int R, class Codes>
inline void code_tile(const Codes& levels, const uint8_t* const* row, int rows, int64_t d, const float* x,
                      int64_t ldx, float* y, int64_t ldy) {
  const Vec zero = vec_set1(0.0f);
  Vec acc[4][T];
  SKV_FLAT for (int r = 0; r < 4; ++r) SKV_FLAT for (int t = 0; t < T; ++t) acc[r][t] = zero;
  for (int64_t k = 0; k < d; k += 16) {
    Vec value[R];
    SKV_FLAT for (int r = 0; r < R; ++r) value[r] = levels.at(row[r], d, k);
    SKV_FLAT for (int t = 0; t < T; ++t) {
      const Vec xs = vec_load(x + t * ldx + k);
      SKV_FLAT for (int r = 0; r < R; ++r) acc[r][t] = vec_fma(value[r], xs, acc[r][t]);
    }
  }
  if constexpr (R < T) {  // vec_reduce4 adds each of its four alike: tokens of a row, where rows are few
    static_assert(T <= 4);
    SKV_FLAT for (int r = 0; r < R; ++r) {
      Vec each[4] = {zero, zero, zero, zero};
      SKV_FLAT for (int t = 0; t < T; ++t) each[t] = acc[r][t];
      float sums[4];
      vec_reduce4(each[0], each[1], each[2], each[3], sums);
      for (int t = 0; t < T; ++t) y[t * ldy + r] = sums[t];
    }
    return;
  }
  SKV_FLAT for (int t = 0; t < T; ++t) {
    float sums[4];
    vec_reduce4(acc[0][t], acc[1][t], acc[2][t], acc[3][t], sums);
    for (int r = 0; r < rows; ++r) y[t * ldy + r] = sums[r];
  }
}

template <int T, class Codes>
inline void code_tiles(const Codes& levels, const uint8_t* const* row, int rows, int64_t d, const float* x,
                       int64_t ldx, int64_t tokens, float* y, int64_t ldy) {
  for (; tokens >= T; tokens -= T, x += T * ldx, y += T * ldy) {
    if (rows == 1)  // columns of a width of their own often come alone
      code_tile<T, 1>(levels, row, rows, d, x, ldx, y, ldy);
    else if (rows == 2)
      code_tile<T, 2>(levels, row, rows, d, x, ldx, y, ldy);
    else
      code_tile<T, 4>(levels, row, rows, d, x, ldx, y, ldy);
  }
  if constexpr (T > 1) {
    if (tokens > 0) code_tiles<T - 1>(levels, row, rows, d, x, ldx, tokens, y, ldy);
  }
}

template <class Codes>
void score_codes(const uint8_t* codes, int64_t n, int64_t d, const float* levels, const float* x, int64_t ldx,
                 int64_t tokens, float* y, int64_t ldy) {
  const Codes table(levels);
  const int64_t row_bytes = d * Codes::kBits / 8;
  for (int64_t r0 = 0; r0 < n; r0 += 4) {
    const int rows = n - r0 < 4 ? (int)(n - r0) : 4;
    const uint8_t* row[4];
    for (int r = 0; r < 4; ++r) row[r] = codes + (r0 + (r < rows ? r : 0)) * row_bytes;
    if (rows == 1) {  // what would be unpacked is a quarter of four rows
      code_tiles<kColumnTokens>(table, row, rows, d, x, ldx, tokens, y + r0, ldy);
      continue;
    }
    if (tokens <= kFusedTokens || d > kUnpackedColumns) {
      code_tiles<kFusedTokens>(table, row, rows, d, x, ldx, tokens, y + r0, ldy);
      continue;
    }
    float unpacked[4 * kUnpackedColumns];  // many tokens: look the levels up once
    F32Rows dense;
    for (int r = 0; r < 4; ++r) {
      for (int64_t k = 0; k < d; k += 16) vec_store(unpacked + r * d + k, table.at(row[r], d, k));
      dense.set(r, unpacked + r * d);
    }
    tiles<kTileTokens>(dense, rows, d, x, ldx, tokens, y + r0, ldy);
  }
}

// C vectors of T rows of acc stay in registers over all j.
template <int T, int C, class Codes>
inline void mix_code_columns(const Codes& levels, const float* p, int64_t ldp, const uint8_t* codes,
                             int64_t n, int64_t d, int64_t column, float* acc, int64_t lda) {
  Vec sum[T][C];
  SKV_FLAT for (int t = 0; t < T; ++t) SKV_FLAT for (int c = 0; c < C; ++c) sum[t][c] =
      vec_load(acc + t * lda + column + 16 * c);
  for (int64_t j = 0; j < n; ++j, codes += d * Codes::kBits / 8) {
    Vec value[C];
    SKV_FLAT for (int c = 0; c < C; ++c) value[c] = levels.at(codes, d, column + 16 * c);
    SKV_FLAT for (int t = 0; t < T; ++t) {
      const Vec probability = vec_set1(p[t * ldp + j]);
      SKV_FLAT for (int c = 0; c < C; ++c) sum[t][c] = vec_fma(probability, value[c], sum[t][c]);
    }
  }
  SKV_FLAT for (int t = 0; t < T; ++t) SKV_FLAT for (int c = 0; c < C; ++c)
      vec_store(acc + t * lda + column + 16 * c, sum[t][c]);
}

template <int T, class Codes>
inline void mix_code_tokens(const Codes& levels, const float* p, int64_t ldp, int64_t tokens,
                            const uint8_t* codes, int64_t n, int64_t d, float* acc, int64_t lda) {
  for (; tokens >= T; tokens -= T, p += T * ldp, acc += T * lda) {
    int64_t c = 0;
    for (; c + 16 * kMixColumns <= d; c += 16 * kMixColumns)
      mix_code_columns<T, kMixColumns>(levels, p, ldp, codes, n, d, c, acc, lda);
    for (; c < d; c += 16) mix_code_columns<T, 1>(levels, p, ldp, codes, n, d, c, acc, lda);
  }
  if constexpr (T > 1) {
    if (tokens > 0) mix_code_tokens<T - 1>(levels, p, ldp, tokens, codes, n, d, acc, lda);
  }
}

template <class Codes>
void mix_codes(const float* p, int64_t ldp, int64_t tokens, const uint8_t* codes, int64_t n, int64_t d,
               const float* levels, float* acc, int64_t lda) {
  mix_code_tokens<kMixTokens>(Codes(levels), p, ldp, tokens, codes, n, d, acc, lda);
}

template <class Codes>
void decode_codes(const uint8_t* row, int64_t d, const float* levels, float scale, float* out) {
  const Codes table(levels);
  const Vec factor = vec_set1(scale);
  for (int64_t k = 0; k < d; k += 16) vec_store(out + k, vec_mul(factor, table.at(row, d, k)));
}

}  // namespace
