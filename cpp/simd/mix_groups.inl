// Mixes of rows of q8_0 and q4_0: what decoding and mix_f32 give, to the bit, without the rows in memory.

namespace {

constexpr int kGroupTokens = kMixColumns > 1 ? 4 : 2;  // rows of acc in registers,
constexpr int kGroupBlocks = kMixColumns > 1 ? 2 : 1;  // times so many groups of 32 columns

// B groups of R rows of acc stay in registers over all j.
template <int R, int B, class Rows>
inline void mix_group_columns(const float* p, int64_t ldp, const uint8_t* rows, int64_t row_bytes, int64_t n,
                              int64_t group, float* acc, int64_t lda) {
  Vec sum[R][2 * B];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < 2 * B; ++c) sum[r][c] = vec_load(acc + r * lda + 16 * c);
  for (int64_t j = 0; j < n; ++j) {
    Rows row;
    row.set(0, rows + j * row_bytes);
    Vec value[2 * B];
    for (int b = 0; b < B; ++b) row.block(0, group + b, &value[2 * b], &value[2 * b + 1]);
    for (int r = 0; r < R; ++r) {
      const Vec probability = vec_set1(p[r * ldp + j]);
      for (int c = 0; c < 2 * B; ++c) sum[r][c] = vec_fma(probability, value[c], sum[r][c]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < 2 * B; ++c) vec_store(acc + r * lda + 16 * c, sum[r][c]);
}

template <int R, class Rows>
inline void mix_group_tokens(const float* p, int64_t ldp, int64_t tokens, const uint8_t* rows,
                             int64_t row_bytes, int64_t n, int64_t d, float* acc, int64_t lda) {
  for (; tokens >= R; tokens -= R, p += R * ldp, acc += R * lda) {
    int64_t g = 0;
    for (; g + kGroupBlocks <= d / 32; g += kGroupBlocks)
      mix_group_columns<R, kGroupBlocks, Rows>(p, ldp, rows, row_bytes, n, g, acc + 32 * g, lda);
    for (; g < d / 32; ++g) mix_group_columns<R, 1, Rows>(p, ldp, rows, row_bytes, n, g, acc + 32 * g, lda);
  }
  if constexpr (R > 1) {
    if (tokens > 0) mix_group_tokens<R - 1, Rows>(p, ldp, tokens, rows, row_bytes, n, d, acc, lda);
  }
}

template <class Rows>
void mix_groups(const float* p, int64_t ldp, int64_t tokens, const void* rows, int64_t row_bytes, int64_t n,
                int64_t d, float* acc, int64_t lda) {
  mix_group_tokens<kGroupTokens, Rows>(p, ldp, tokens, (const uint8_t*)rows, row_bytes, n, d, acc, lda);
}

}  // namespace
