// Rows of numbers in pairs times codes in tiles by ARMv8.6's matrix product of bytes; tiles_neon.h includes
// it behind TileLevels. Two tiles meet eight numbers of each row.

namespace {

// acc += the products of two rows of eight numbers with two rows of eight levels: those of the first row of
// numbers, then those of the second.
inline int32x4_t matrix_product(int32x4_t acc, uint8x16_t numbers, int8x16_t levels) {
  return vusmmlaq_s32(acc, numbers, levels);
}
inline int32x4_t matrix_product(int32x4_t acc, int8x16_t numbers, int8x16_t levels) {
  return vmmlaq_s32(acc, numbers, levels);
}
inline uint8x16_t eight_of_two(const uint8_t* x, const uint8_t* y) {
  return vcombine_u8(vld1_u8(x), vld1_u8(y));
}
inline int8x16_t eight_of_two(const int8_t* x, const int8_t* y) {
  return vcombine_s8(vld1_s8(x), vld1_s8(y));
}
// The same with zeros for the last four of each.
inline uint8x16_t four_of_two(const uint8_t* x, const uint8_t* y) {
  return vreinterpretq_u8_s32(int32x4_t{word_at(x), 0, word_at(y), 0});
}
inline int8x16_t four_of_two(const int8_t* x, const int8_t* y) {
  return vreinterpretq_s8_s32(int32x4_t{word_at(x), 0, word_at(y), 0});
}

// Words of x and y in turns: rows of four columns become the halves of rows of eight.
inline uint8x16_t words_low(uint8x16_t x, uint8x16_t y) {
  return vreinterpretq_u8_u32(vzip1q_u32(vreinterpretq_u32_u8(x), vreinterpretq_u32_u8(y)));
}
inline uint8x16_t words_high(uint8x16_t x, uint8x16_t y) {
  return vreinterpretq_u8_u32(vzip2q_u32(vreinterpretq_u32_u8(x), vreinterpretq_u32_u8(y)));
}

// The levels of two tiles: rows 2i and 2i + 1 in out[i].
template <int bits>
inline void levels_of_two(const TileLevels<bits>& levels, const uint8_t* tile, const uint8_t* next,
                          int8x16_t out[8]) {
  uint8x16_t index[8];
  if constexpr (bits == 4) {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const uint8x16_t x = vld1q_u8(tile + 16 * i), y = vld1q_u8(next + 16 * i);
      const uint8x16_t raw[2] = {words_low(x, y), words_high(x, y)};
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        index[2 * i + j] = vandq_u8(raw[j], vdupq_n_u8(15));
        index[2 * i + j + 4] = vshrq_n_u8(raw[j], 4);
      }
    }
  } else if constexpr (bits == 1) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t x = vec_of_bits(tile + 2 * i), y = vec_of_bits(next + 2 * i), one = vdupq_n_u8(1);
      index[2 * i] = vandq_u8(words_low(x, y), one);
      index[2 * i + 1] = vandq_u8(words_high(x, y), one);
    }
  } else {
    const uint8x16_t x = vld1q_u8(tile), y = vld1q_u8(next), mask = vdupq_n_u8(3);
    const uint8x16_t raw[2] = {words_low(x, y), words_high(x, y)};
#pragma GCC unroll 2
    for (int j = 0; j < 2; ++j) {
      index[j] = vandq_u8(raw[j], mask);
      index[2 + j] = vandq_u8(vshrq_n_u8(raw[j], 2), mask);
      index[4 + j] = vandq_u8(vshrq_n_u8(raw[j], 4), mask);
      index[6 + j] = vshrq_n_u8(raw[j], 6);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4 && bits == 3; ++i) {
      const uint8x16_t third_x = vec_of_bits(tile + 16 + 2 * i), third_y = vec_of_bits(next + 16 + 2 * i);
      index[2 * i] = vorrq_u8(index[2 * i], vandq_u8(words_low(third_x, third_y), vdupq_n_u8(4)));
      index[2 * i + 1] = vorrq_u8(index[2 * i + 1], vandq_u8(words_high(third_x, third_y), vdupq_n_u8(4)));
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) out[i] = vreinterpretq_s8_u8(vqtbl1q_u8(levels.table, index[i]));
}

// Rows t to t + T - 1 of x; y: row t. The last of an odd number is a pair with itself.
template <int bits, int T, class Rows>
requires(T > 1) inline void tile_rows(const TileLevels<bits>& levels, const CodeTiles& a, const Rows& x,
                                      int64_t t, const float* scale, float* y, int64_t ldy) {
  constexpr int kPairs = (T + 1) / 2;
  constexpr int64_t kBytes = TileLevels<bits>::kBytes;
  const auto* values = x.values + t * x.ld;
  const auto second = [](int pair) { return 2 * pair + 1 < T ? 2 * pair + 1 : 2 * pair; };
  for (int64_t r = 0; r < a.rows; r += 16) {
    const uint8_t* tile = a.data + r / 16 * a.stride;
    int32x4_t acc[kPairs][8];
#pragma GCC unroll 4
    for (int pair = 0; pair < kPairs; ++pair)
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) acc[pair][i] = vdupq_n_s32(0);
    int64_t g = 0;
    for (; g + 2 <= a.groups; g += 2, tile += 2 * kBytes) {
      int8x16_t level[8];
      levels_of_two(levels, tile, tile + kBytes, level);
#pragma GCC unroll 4
      for (int pair = 0; pair < kPairs; ++pair) {
        const auto numbers =
            eight_of_two(values + 2 * pair * x.ld + 4 * g, values + second(pair) * x.ld + 4 * g);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) acc[pair][i] = matrix_product(acc[pair][i], numbers, level[i]);
      }
    }
    if (g < a.groups) {  // zeros meet the tile for a second time
      int8x16_t level[8];
      levels_of_two(levels, tile, tile, level);
#pragma GCC unroll 4
      for (int pair = 0; pair < kPairs; ++pair) {
        const auto numbers =
            four_of_two(values + 2 * pair * x.ld + 4 * g, values + second(pair) * x.ld + 4 * g);
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) acc[pair][i] = matrix_product(acc[pair][i], numbers, level[i]);
      }
    }
    const int left = a.rows - r < 16 ? (int)(a.rows - r) : 16;
#pragma GCC unroll 8
    for (int i = 0; i < T; ++i) {
      const auto four = [i, &acc](int part) {
        const int64x2_t p = vreinterpretq_s64_s32(acc[i / 2][2 * part]),
                        q = vreinterpretq_s64_s32(acc[i / 2][2 * part + 1]);
        return vreinterpretq_s32_s64(i % 2 == 0 ? vzip1q_s64(p, q) : vzip2q_s64(p, q));
      };
      add_row({four(0), four(1), four(2), four(3)}, a.unit * x.steps[t + i], scale, r, left, y + i * ldy + r);
    }
  }
}

}  // namespace
