// Products with matrices of codes (formats/bitpack.h): codes become levels in registers, and several tokens
// share each lookup. Sums run as in the matmul and the mix of dense rows.

namespace {

using spectralkv::simd::CodeRow;

constexpr int64_t kUnpackedColumns = 256;

// Four rows times T tokens; the first `rows` (1 to 4) results a token are stored.
template <int T, int bits>
inline void code_tile(const CodeLevels<bits>& levels, const uint8_t* const* row, int rows, int64_t d,
                      const float* x, int64_t ldx, float* y, int64_t ldy) {
  Vec acc[4][T];
  for (int r = 0; r < 4; ++r)
    for (int t = 0; t < T; ++t) acc[r][t] = vec_set1(0.0f);
  for (int64_t k = 0; k < d; k += 16) {
    Vec value[4];
    for (int r = 0; r < 4; ++r) value[r] = levels.at(row[r], d, k);
    for (int t = 0; t < T; ++t) {
      const Vec xs = vec_load(x + t * ldx + k);
      for (int r = 0; r < 4; ++r) acc[r][t] = vec_fma(value[r], xs, acc[r][t]);
    }
  }
  for (int t = 0; t < T; ++t) {
    float sums[4];
    vec_reduce4(acc[0][t], acc[1][t], acc[2][t], acc[3][t], sums);
    for (int r = 0; r < rows; ++r) y[t * ldy + r] = sums[r];
  }
}

template <int T, int bits>
inline void code_tiles(const CodeLevels<bits>& levels, const uint8_t* const* row, int rows, int64_t d,
                       const float* x, int64_t ldx, int64_t tokens, float* y, int64_t ldy) {
  for (; tokens >= T; tokens -= T, x += T * ldx, y += T * ldy)
    code_tile<T>(levels, row, rows, d, x, ldx, y, ldy);
  if constexpr (T > 1) {
    if (tokens > 0) code_tiles<T - 1>(levels, row, rows, d, x, ldx, tokens, y, ldy);
  }
}

template <int bits>
void score_codes(const uint8_t* codes, int64_t n, int64_t d, const float* levels, const float* x, int64_t ldx,
                 int64_t tokens, float* y, int64_t ldy) {
  const CodeLevels<bits> table(levels);
  const int64_t row_bytes = d * bits / 8;
  for (int64_t r0 = 0; r0 < n; r0 += 4) {
    const int rows = n - r0 < 4 ? (int)(n - r0) : 4;
    const uint8_t* row[4];
    for (int r = 0; r < 4; ++r) row[r] = codes + (r0 + (r < rows ? r : 0)) * row_bytes;
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
template <int T, int C, int bits>
inline void mix_code_columns(const CodeLevels<bits>& levels, const float* p, int64_t ldp,
                             const uint8_t* codes, int64_t n, int64_t d, int64_t column, float* acc,
                             int64_t lda) {
  Vec sum[T][C];
  for (int t = 0; t < T; ++t)
    for (int c = 0; c < C; ++c) sum[t][c] = vec_load(acc + t * lda + column + 16 * c);
  for (int64_t j = 0; j < n; ++j, codes += d * bits / 8) {
    Vec value[C];
    for (int c = 0; c < C; ++c) value[c] = levels.at(codes, d, column + 16 * c);
    for (int t = 0; t < T; ++t) {
      const Vec weight = vec_set1(p[t * ldp + j]);
      for (int c = 0; c < C; ++c) sum[t][c] = vec_fma(weight, value[c], sum[t][c]);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int c = 0; c < C; ++c) vec_store(acc + t * lda + column + 16 * c, sum[t][c]);
}

template <int T, int bits>
inline void mix_code_tokens(const CodeLevels<bits>& levels, const float* p, int64_t ldp, int64_t tokens,
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

template <int bits>
void mix_codes(const float* p, int64_t ldp, int64_t tokens, const uint8_t* codes, int64_t n, int64_t d,
               const float* levels, float* acc, int64_t lda) {
  mix_code_tokens<kMixTokens>(CodeLevels<bits>(levels), p, ldp, tokens, codes, n, d, acc, lda);
}

template <int bits>
void decode_codes(const uint8_t* row, int64_t d, const float* levels, float scale, float* out) {
  const CodeLevels<bits> table(levels);
  const Vec factor = vec_set1(scale);
  for (int64_t k = 0; k < d; k += 16) vec_store(out + k, vec_mul(factor, table.at(row, d, k)));
}

template <int bits>
void decode_whole(const uint8_t* row, int64_t d, float scale, float* out) {
  const Vec factor = vec_set1(scale), middle = vec_set1((float)(1 << (bits - 1)));
  for (int64_t k = 0; k < d; k += 16)
    vec_store(out + k, vec_mul(factor, vec_sub(vec_code_numbers<bits>(row, d, k), middle)));
}

void decode_rows(const CodeRow* rows, int64_t count, int64_t d, float* out) {
  for (const CodeRow* row = rows; row < rows + count; ++row, out += d) {
    if (row->levels == nullptr) {
      if (row->bits == 8) decode_whole<8>(row->codes, d, row->scale, out);
      if (row->bits == 10) decode_whole<10>(row->codes, d, row->scale, out);
      if (row->bits == 12) decode_whole<12>(row->codes, d, row->scale, out);
      if (row->bits == 16) decode_whole<16>(row->codes, d, row->scale, out);
      continue;
    }
    switch (row->bits) {
#define CASE(b)                                                   \
  case b:                                                         \
    decode_codes<b>(row->codes, d, row->levels, row->scale, out); \
    break;
      CASE(1)
      CASE(2)
      CASE(3)
      CASE(4)
      CASE(5)
      CASE(6)
      CASE(7)
      CASE(8)
#undef CASE
      default:
        break;
    }
  }
}

}  // namespace
