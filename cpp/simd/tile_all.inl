// All rows of x by tile_rows, at most kTileRowsAtOnce at a time; tiles_avx2.h and tiles_neon.h include it behind these.
namespace {

template <int bits, int T = kTileRowsAtOnce, class Rows>
inline void tile_all(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x, int64_t t,
                     const float* scale, float* y, int64_t ldy) {
  for (; x.count - t >= T; t += T) tile_rows<bits, T>(levels, a, x, t, scale, y + t * ldy, ldy);
  if constexpr (T > 1) {
    if (t < x.count) tile_all<bits, T - 1>(levels, a, x, t, scale, y, ldy);
  }
}

}  // namespace
