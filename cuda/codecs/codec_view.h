// What kernels know of a codec: a plain struct that travels in their arguments.
#pragma once

#include <cstdint>

#include "formats/coded_block.h"
#include "kv/codec_form.h"
#include "kv/codecs/kivi_groups.h"

namespace spectralkv::device_kv {

constexpr int kMostRank = 16;  // edge_window of a head dim up to 256 is less
constexpr int kMostHeadDim = 256;
constexpr int kMostTrellisTiles =
    128;                   // head dim up to which the tensor cores' kernel has registers for them
constexpr int kWarps = 4;  // of a block of threads, in every kernel here
constexpr int kThreads = 32 * kWarps;

// A codec: all pointers lie in device memory.
struct CodecView {
  CodecForm::Kind kind;
  KiviFormat kivi;        // of kivi
  SkvScalarFormat coded;  // of codes
  int plain_width;        // of components in a block that names no widths
  int window;             // of the bulk edge: edge_window(d), the largest rank; 0: no factors
  Loss loss;
  RowScale scale;
  bool byte_scales;
  bool closed_loop;
  bool own_widths;  // components of low-rank parts may have their own
  bool searches;    // codes of a row are chosen together, before `encode`
  double distortion;
  const float *levels, *boundaries;  // [2^bits], [2^bits - 1]
  // The Gaussian codebooks of 1 to 8 bits one behind the other (factor_book); of b bits 2^b levels, and 2^b -
  // 1 boundaries.
  const float *factor_levels, *factor_boundaries;
  bool tiles;                         // the tensor cores read it, and these are set:
  const std::uint32_t* factor_pairs;  // [kFactorPairs]
  std::uint32_t level_bytes[4];       // the levels as signed bytes, in units of level_unit
  float level_unit;
  int second_rows;  // of a block, at most, that have a second stage, of these 4-bit codes:
  const float *second_levels, *second_boundaries;
};

// Components of up to kNarrow bits go through the tensor cores in f16, by tables: number 256 (a + 2 b) + byte
// is the pair of levels of the byte's lower code, in book a, and of its upper one, in book b. Book 0 is that
// of blocks that name no widths (of 3 bits, and 2 above them), book 1 that of kNarrow bits.
constexpr int kNarrow = 4;
constexpr int kBookPairs = 256;
constexpr int kFactorPairs = 4 * kBookPairs;

// Where the Gaussian codebook of `bits` bits begins in CodecView::factor_levels and factor_boundaries.
SKV_HD constexpr int factor_book(int bits) {
  return (1 << bits) - 2;
}

}  // namespace spectralkv::device_kv
