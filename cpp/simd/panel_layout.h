// Panels: quantised weights as the 8-bit kernels read them.
//
// A panel holds 16 rows of a matrix; the last one is filled up with rows of zeros. It begins with 16 units
// (f32, powers of two); a row's result is multiplied by its unit at the end, which brings its scales into the
// range of f16. Where codes are places in a table of levels, 64 bytes follow: the 16 levels with the type's
// offset added, four times over. Then follow the blocks of columns: a group of 32, or where groups have fine
// scales the 256 whose groups (of 16 or 32) share coarse ones. In each
//
//     16 scales (f16), one a row
//     16 minimums (f16), where the type has any
//     where scales are fine, for each group 16 whole numbers (int8) that its scales are multiplied by and,
//     with
//         minimums, 16 for these
//     for each group 16 codes a column in bit planes, as formats/bitpack.h splits them: the lowest 8, 4, 2 or
//     1
//         bits of a code come first
//
// Four columns make a step: 64 codes, byte 4 r + c that of row r and column c, so that a lane of 32 bits
// meets four activations of its row. Where an instruction set multiplies rows of eight
// (Kernels::step_columns), a step is eight columns of eight rows, byte 8 r + c, those of the first eight rows
// before those of the others. In a plane of 8 bits a step is 64 bytes; of 4 bits, 64 bytes hold a step in
// their low halves and the next in their high halves; of 2 bits, four steps from the low pair up; a plane of
// 1 bit has 8 bytes a step, code i in bit i.
#pragma once

#include <stdint.h>

namespace spectralkv::simd {

constexpr int64_t kPanelRows = 16;
constexpr int64_t kActivationGroup = 32;

constexpr int64_t kFineColumns = 256;

// What a panel is made of.
struct PanelForm {
  int bits = 0, group = 0;
  bool has_minimum = false, has_levels = false, has_fine = false;

  constexpr int64_t block_columns() const { return has_fine ? kFineColumns : group; }
  constexpr int64_t header_bytes() const { return kPanelRows * 4 + (has_levels ? 64 : 0); }
  // Of a block: its scales and minimums, then the codes of a group.
  constexpr int64_t scale_bytes() const {
    return kPanelRows * (has_minimum ? 2 : 1) * (2 + (has_fine ? kFineColumns / group : 0));
  }
  constexpr int64_t group_bytes() const { return kPanelRows * group * bits / 8; }
  constexpr int64_t bytes(int64_t cols) const {
    return header_bytes() +
           cols / block_columns() * (scale_bytes() + block_columns() / group * group_bytes());
  }
};

// Activations in 8 bits: 32 that share a scale, and what weights with minimums need of them. All that a step
// of a product reads of a token lies together.
struct ActivationGroup {
  int8_t q[kActivationGroup];  // value k is scale * q[k]
  float scale;
  float sum;           // of the 32 values
  float half_sums[2];  // of 16 and 16
};

// y[t * ldy + r] = sum over k of w[r][k] * x[t][k] for the first `rows` (1 to 16) rows of one panel; x
// [tokens, cols / 32] groups. offset:
// the code of zero, for types without minimums. Per row and token, groups are added in rising order with
// fused multiply-adds.
typedef void (*PanelMatmulFn)(const uint8_t* panel, int64_t cols, int offset, const ActivationGroup* x,
                              int64_t tokens, int64_t rows, float* y, int64_t ldy);

}  // namespace spectralkv::simd
