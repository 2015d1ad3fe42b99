// Panels of quantised weights (panel_layout.h) times activations in 8 bits.
#include "simd/panel_layout.h"

namespace {

using spectralkv::simd::ActivationGroup;
using spectralkv::simd::PanelForm;

constexpr int64_t kPrefetchAhead = 4096;  // bytes

// The codes of a step of a group whose planes start at p. Steps that share bytes load them each: once, after
// unrolling.
template <int bits, int group>
inline Bytes panel_step(const uint8_t* p, int step) {
  constexpr int steps = group / 4;
  if constexpr (bits == 8) {
    return bytes_load(p + 64 * step);
  } else if constexpr (bits == 4 || bits == 5) {
    const Bytes both = bytes_load(p + step / 2 * 64);
    const Bytes four = step % 2 == 0 ? bytes_field<0, 15>(both) : bytes_field<4, 15>(both);
    return bits == 4 ? four : bytes_add_bits<16>(four, p + 64 * steps / 2 + 8 * step);
  } else {
    static_assert((bits == 2 || bits == 3 || bits == 6) && steps == 4,
                  "2, 3 and 6 bits come in groups of 16");
    const uint8_t* rest = p + (bits == 6 ? 128 : 64);
    const Bytes pairs = bytes_load(bits == 6 ? rest : p);
    const Bytes pair = step == 0   ? bytes_field<0, 3>(pairs)
                       : step == 1 ? bytes_field<2, 3>(pairs)
                       : step == 2 ? bytes_field<4, 3>(pairs)
                                   : bytes_field<6, 3>(pairs);
    if constexpr (bits == 2) return pair;
    if constexpr (bits == 3) return bytes_add_bits<4>(pair, rest + 8 * step);
    const Bytes both = bytes_load(p + step / 2 * 64);
    return bytes_or_shifted4(step % 2 == 0 ? bytes_field<0, 15>(both) : bytes_field<4, 15>(both), pair);
  }
}

// Codes as what they are,
template <int bits>
struct PlainCodes {
  explicit PlainCodes(const uint8_t*) {}
  static Sums start(const int8_t* q) { return sums_start<bits>(q); }
  Bytes operand(Bytes codes) const { return codes; }
  static void dot(Sums& acc, Bytes codes, const int8_t* q, int step) { sums_dot<bits>(acc, codes, q, step); }
  static Vec sum(const Sums& acc) { return sums_to_vec<bits>(acc); }
};
// or as places in the table of levels at p, which have so many bits.
template <int level_bits>
struct LevelCodes {
  ByteTable table;
  explicit LevelCodes(const uint8_t* p) : table(byte_table_load(p)) {}
  static Sums start(const int8_t* q) { return sums_start<level_bits>(q); }
  Bytes operand(Bytes codes) const { return bytes_lookup(table, codes); }
  static void dot(Sums& acc, Bytes levels, const int8_t* q, int step) {
    sums_dot<level_bits>(acc, levels, q, step);
  }
  static Vec sum(const Sums& acc) { return sums_to_vec<level_bits>(acc); }
};

// The sums of T tokens in a group of columns, each token's by itself; panel_i8mm.h has those of pairs. x: the
// activations that meet the group, those of a token `groups` behind the token's before, from column `first`.
template <class Codes, int T>
struct TokenSums {
  Sums of[T];
  TokenSums(const ActivationGroup* x, int64_t groups, int first) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) of[t] = Codes::start(x[t * groups].q + first);
  }
  template <class Operand>
  void add(const Operand& operand, const ActivationGroup* x, int64_t groups, int column, int step) {
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t) Codes::dot(of[t], operand, x[t * groups].q + column, step);
  }
  Vec sum(int t) const { return Codes::sum(of[t]); }
};

// A group of columns of T tokens. scales: of the group's block; fine: the group's own, where there are any.
// Scales come last: registers are few.
template <class Codes, PanelForm form, int T>
inline void panel_group(const uint8_t* panel, const uint8_t* scales, const int8_t* fine,
                        const uint8_t* planes, Vec zero, const ActivationGroup* x, int64_t groups, int part,
                        Vec* total) {
  const int first = part * form.group;
  const Codes kind(panel + 64);
  TokenSums<Codes, T> acc(x, groups, first);
#pragma GCC unroll 8
  for (int step = 0; step < form.group / 4; ++step) {
    const int column = kStepColumns == 4 ? 4 * step : step / 2 * 8;
    acc.add(kind.operand(panel_step<form.bits, form.group>(planes, step)), x, groups, first + column, step);
  }
  Vec scale = vec_load_f16((const uint16_t*)scales);
  Vec minimum = form.has_minimum ? vec_load_f16((const uint16_t*)(scales + 32)) : zero;
  if constexpr (form.has_fine) {
    scale = vec_mul(scale, vec_load_i8(fine));
    if constexpr (form.has_minimum) minimum = vec_mul(minimum, vec_load_i8(fine + 16));
  }
  if constexpr (!form.has_minimum) minimum = vec_mul(scale, zero);
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) {
    const ActivationGroup& token = x[t * groups];
    const float sum = form.group == 32 ? token.sum : token.half_sums[part];
    total[t] = vec_fused(acc.sum(t), vec_mul(scale, vec_set1(token.scale)), total[t]);
    total[t] = vec_fused(minimum, vec_set1(sum), total[t]);
  }
}

template <class Codes, PanelForm form, int T>
inline void panel_tile(const uint8_t* panel, int64_t cols, Vec zero, const ActivationGroup* x, int rows,
                       float* y, int64_t ldy) {
  constexpr int parts = 32 / form.group;  // groups of weights that meet one of activations
  constexpr int64_t kScaleBytes = form.scale_bytes(), kGroupBytes = form.group_bytes();
  // One token: the weights come from memory, and the hardware's own fetching stops at pages.
  const auto fetch = [](const uint8_t* p, int64_t bytes) {
    if constexpr (T == 1)
      for (int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + kPrefetchAhead + b, 0, 2);
  };
  const Vec unit = vec_load((const float*)panel);
  const uint8_t* at = panel + form.header_bytes();
  const int64_t groups = cols / 32;
  Vec total[T];
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) total[t] = vec_set1(0.0f);
  for (int64_t c = 0; c < cols; c += form.block_columns()) {
    fetch(at, kScaleBytes);
    const uint8_t* scales = at;
    const int8_t* fine = (const int8_t*)at + (form.has_minimum ? 64 : 32);
    at += kScaleBytes;
    for (int64_t g = 0; g < form.block_columns() / 32; ++g, ++x) {
#pragma GCC unroll 2
      for (int part = 0; part < parts; ++part) {
        fetch(at, kGroupBytes);
        panel_group<Codes, form, T>(panel, scales, fine, at, zero, x, groups, part, total);
        if constexpr (form.has_fine) fine += form.has_minimum ? 32 : 16;
        at += kGroupBytes;
      }
    }
  }
#pragma GCC unroll 8
  for (int t = 0; t < T; ++t) vec_store_n(y + t * ldy, vec_mul(total[t], unit), rows);
}

template <class Codes, PanelForm form, int T>
inline void panel_tiles(const uint8_t* panel, int64_t cols, Vec zero, const ActivationGroup* x,
                        int64_t tokens, int rows, float* y, int64_t ldy) {
  for (; tokens >= T; tokens -= T, x += T * (cols / 32), y += T * ldy)
    panel_tile<Codes, form, T>(panel, cols, zero, x, rows, y, ldy);
  if constexpr (T > 1) {
    if (tokens > 0) panel_tiles<Codes, form, T / 2>(panel, cols, zero, x, tokens, rows, y, ldy);
  }
}

template <class Codes, PanelForm form>
void panel_matmul(const uint8_t* panel, int64_t cols, int offset, const ActivationGroup* x, int64_t tokens,
                  int64_t rows, float* y, int64_t ldy) {
  panel_tiles<Codes, form, kPanelTokens>(panel, cols, vec_set1((float)-offset), x, tokens, (int)rows, y, ldy);
}

// One row of cols activations to 8 bits (ActivationGroup says what is what).
void quantize_activations(const float* x, int64_t cols, ActivationGroup* out) {
  for (int64_t k = 0; k < cols; k += 32, x += 32, ++out) {
    const Vec a = vec_load(x), b = vec_load(x + 16), none = vec_set1(0.0f);
    const float most = vec_reduce_max(vec_max(vec_max(a, vec_sub(none, a)), vec_max(b, vec_sub(none, b))));
    const float step = most / 127.0f, inverse = most > 1e-30f ? 127.0f / most : 0.0f;  // smaller: zeros
    const Vec i = vec_round(vec_mul(a, vec_set1(inverse))), j = vec_round(vec_mul(b, vec_set1(inverse)));
    vec_store_i8(out->q, i);
    vec_store_i8(out->q + 16, j);
    float sums[4];  // of whole numbers: exact in any order
    vec_reduce4(i, j, none, none, sums);
    out->scale = step;
    out->sum = step * (sums[0] + sums[1]);
    out->half_sums[0] = step * sums[0];
    out->half_sums[1] = step * sums[1];
  }
}

}  // namespace
