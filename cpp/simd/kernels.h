// The arithmetic that is compiled once per instruction set: a table of plain functions.
// Shapes and units stand beside every pointer. Sums run in a fixed order that depends on the row alone, so a
// result does not depend on how many rows, tokens or threads a call covers.
#pragma once

#include <stdint.h>

#include "simd/panel_layout.h"
#include "simd/symmetric.h"

namespace spectralkv::simd {

// The weight types, in the order of formats/list.def.
// clang-format off
enum {
  kTypes = 0
#define X(...) + 1
#include "formats/list.def"
#undef X
};
// clang-format on
enum { kTileBits = 4 };  // those in tiles 1 to 4

// y[t * ldy + r] = sum over k < n of W[r][k] * x[t * ldx + k], for r < rows, t < tokens.
// w: rows of row_bytes each, n values; x: [tokens, n] f32; y: [tokens, rows] f32; work: matmul_work(n)
// floats. Rows are summed in groups of four counted from w: callers split rows at multiples of four.
typedef void (*MatmulFn)(const void* w, int64_t row_bytes, int64_t rows, int64_t n, const float* x,
                         int64_t ldx, int64_t tokens, float* y, int64_t ldy, float* work);

// A matrix of codes in tiles (formats/codetiles.h) that stand for whole numbers.
struct CodeTiles {
  const uint8_t* data;
  int64_t rows;          // results of a product
  int64_t groups;        // tiles behind each other: four columns each that are summed
  int64_t stride;        // bytes from one sixteen of rows to the next
  const int8_t* levels;  // [2^b], -127 to 127
  float unit = 1;        // what a level of 1 stands for
  // What will be read next, or null: a product with few rows asks for as many bytes of it as it reads itself.
  const uint8_t* ahead = nullptr;
};

// Rows of whole numbers -127 to 127 times steps[t], row t at values + t * ld.
struct ByteRows {
  const int8_t* values;
  int64_t ld;
  const float* steps;   // [count]
  const int32_t* sums;  // [count], of a row's numbers
  int64_t count;
};
// Rows of whole numbers 0 to 255, in the same way.
struct ProbabilityRows {
  const uint8_t* values;
  int64_t ld;
  const float* steps;  // [count]
  int64_t count;
};

// How rows of codes of formats/bitpack.h are read: b = 1 to 8 bits as indices into a table of 2^b levels, at
// b - 1; or as whole numbers, 0 in the middle: code - 2^(b - 1), at kWhole8 and on.
enum { kCodeBits = 8, kWhole8 = kCodeBits, kWhole10, kWhole12, kWhole16, kCodeKinds };

struct Kernels {
  const char* name;

  MatmulFn matmul[kTypes];
  // Row decoding of formats/, compiled for this instruction set: n values.
  void (*decode[kTypes])(const void* row, float* out, int64_t n);

  // acc[m][c] += sum over j < n, in rising j, of p[m * ldp + j] * v[j * ldv + c]: p [tokens, n], v [n, d] in
  // f32 or f16 bits, acc [tokens, d] rows lda apart.
  void (*mix_f32)(const float* p, int64_t ldp, int64_t tokens, const float* v, int64_t ldv, int64_t n,
                  int64_t d, float* acc, int64_t lda);
  void (*mix_f16)(const float* p, int64_t ldp, int64_t tokens, const uint16_t* v, int64_t ldv, int64_t n,
                  int64_t d, float* acc, int64_t lda);

  // The same for rows of q8_0 and q4_0, row_bytes apart, d a multiple of 32: the bits that mix_f32 gives for
  // the decoded rows. Faster for few tokens.
  void (*mix_q8_0)(const float* p, int64_t ldp, int64_t tokens, const void* rows, int64_t row_bytes,
                   int64_t n, int64_t d, float* acc, int64_t lda);
  void (*mix_q4_0)(const float* p, int64_t ldp, int64_t tokens, const void* rows, int64_t row_bytes,
                   int64_t n, int64_t d, float* acc, int64_t lda);

  // Matrices of codes of one kind: rows [n, d] back to back, d a multiple of 16, a code standing for
  // levels[code], levels [2^b], or for a whole number (levels is not read). y[t * ldy + r] = sum over k < d
  // of levels[code[r][k]]
  // * x[t * ldx + k]: x [tokens, d], y [tokens, n].
  void (*score_codes[kCodeKinds])(const uint8_t* codes, int64_t n, int64_t d, const float* levels,
                                  const float* x, int64_t ldx, int64_t tokens, float* y, int64_t ldy);
  // acc[t][c] += sum over j < n, in rising j, of p[t * ldp + j] * levels[code[j][c]]: p [tokens, n], acc
  // [tokens, d] rows lda apart.
  void (*mix_codes[kCodeKinds])(const float* p, int64_t ldp, int64_t tokens, const uint8_t* codes, int64_t n,
                                int64_t d, const float* levels, float* acc, int64_t lda);
  // out[i] = scale * levels[code[i]] for one row of d codes.
  void (*decode_codes[kCodeKinds])(const uint8_t* row, int64_t d, const float* levels, float scale,
                                   float* out);

  // y[t * ldy + r] += unit * steps[t] * scale[r] * (sum over k of x[t][k] * levels[code[r][k]]) for r <
  // a.rows, b = index + 1. The sum is an exact integer, groups <= kMostGroups. scale: [a.rows], or null
  // for 1.
  void (*add_tiles[kTileBits])(const CodeTiles& a, const ByteRows& x, const float* scale, float* y,
                               int64_t ldy);
  void (*add_probability_tiles[kTileBits])(const CodeTiles& a, const ProbabilityRows& x, const float* scale,
                                           float* y, int64_t ldy);
  // Rounds m rows of n values to the numbers of ByteRows, nearest even, steps[t] = largest / 127: rows of
  // values ld >= n rounded up to 64 apart, zeros behind the n-th. A row that holds NaN or infinity gets a
  // step that is NaN.
  void (*to_bytes)(const float* x, int64_t ldx, int64_t m, int64_t n, int8_t* values, int64_t ld,
                   float* steps, int32_t* sums);
  // The same for probabilities p: numbers of ProbabilityRows that stand for p[t][k] * scale[k], steps[t] =
  // largest / 255; what is negative or no number becomes 0. scale: [n].
  void (*to_probability_bytes)(const float* p, int64_t ldp, int64_t m, int64_t n, const float* scale,
                               uint8_t* values, int64_t ld, float* steps);

  // Trellis codes (formats/trellis.h), `sixteens` times 16 rows of `groups` tiles back to back, as tiles of
  // the 4-bit indices of their levels: out [sixteens * groups * 32]. ahead: null, or as many bytes as there
  // are codes, which memory is asked for.
  void (*expand_trellis)(const uint8_t* tiles, int64_t sixteens, int64_t groups, const uint8_t* ahead,
                         uint8_t* out);
  // Trellis codes for a ring of sixteen rows, x [steps][16] in fortieths of the deviation of its entries:
  // -114 to 114, or -128 where any code will do. codes [steps][16] out: a code, and from bit 4 on the index
  // of its level. Near the least sum of squares; the same on all instruction sets. work: trellis_work(steps)
  // bytes, even.
  void (*trellis_codes)(const int8_t* x, int64_t steps, uint8_t* codes, uint8_t* work);

  // out[i] = x[i] / sqrt(mean(x^2) + eps) * gain[i], i < n.
  void (*rms_norm)(const float* x, const float* gain, float eps, int64_t n, float* out);
  // gate[i] = gate[i] / (1 + exp(-gate[i])) * up[i].
  void (*silu_mul)(float* gate, const float* up, int64_t n);
  // x[i] += y[i].
  void (*add)(float* x, const float* y, int64_t n);
  // x[i] *= s.
  void (*scale)(float* x, float s, int64_t n);
  // Rotates pairs (2i, 2i + 1): (a, b) -> (a cos - b sin, a sin + b cos); cos_sin [n / 2][2], n even.
  void (*rope)(float* x, const float* cos_sin, int64_t n);
  // Largest of x[0..n), n >= 1.
  float (*max)(const float* x, int64_t n);
  // x[i] = exp(x[i] - offset); returns the sum. Values of -infinity give 0.
  float (*exp_sum)(float* x, float offset, int64_t n);
  // f32 to f16 bits, round to nearest even.
  void (*to_f16)(const float* x, uint16_t* out, int64_t n);
  // out[i] = factor * x[i], x f16 bits.
  void (*from_f16)(const uint16_t* x, float factor, float* out, int64_t n);
  // out[i] = factor * x[i]^2.
  void (*from_square_bytes)(const uint8_t* x, float factor, float* out, int64_t n);
  // x = H x, n a power of two, H[i][j] = 1, or -1 where i and j have an odd number of ones in common.
  void (*hadamard)(float* x, int64_t n);

  // Weights in panels times activations in 8 bits (panel_layout.h); null for types that are not quantised.
  PanelMatmulFn panel_matmul[kTypes];
  int step_columns;  // of those panels: 4 or 8 columns make a step
  // One row of cols (a multiple of 32) finite activations to 8 bits: out [cols / 32].
  void (*quantize_activations)(const float* x, int64_t cols, ActivationGroup* out);

  // Eigenproblems of eight matrices at once.
  SymmetricKernels symmetric;
};

// Floats of work space that matmul needs for rows of n values.
static constexpr int64_t matmul_work(int64_t n) {
  return 4 * (n + 32);
}

// Bytes of work space that trellis_codes needs.
static constexpr int64_t trellis_work(int64_t steps) {
  return 160 * (steps < 64 ? 64 : steps);
}

// Most tiles behind each other: their sums fit 32 bits, 4 * 1024 * 255 * 255 < 2^31, and they fit the stack.
static constexpr int64_t kMostGroups = 1024;

// Each is compiled with its own flags; null where the compiler's target does not have it.
const Kernels* kernels_scalar();
const Kernels* kernels_avx2();
const Kernels* kernels_avxvnni();
const Kernels* kernels_avx512();
const Kernels* kernels_neon();
const Kernels* kernels_dotprod();
const Kernels* kernels_i8mm();

}  // namespace spectralkv::simd
