// What kernels know of a cache: plain structs that travel as their arguments.
#pragma once

#include <cstdint>

#include "formats/coded_block.h"
#include "kv/cache.h"
#include "kv/codecs/kivi_groups.h"

namespace spectralkv::device_kv {

constexpr int kMostRank = 16;  // edge_window of a head dim up to 256 is less
constexpr int kMostHeadDim = 256;
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
  bool closed_loop;
  bool own_widths;  // components of low-rank parts may have their own
  double distortion;
  const float *levels, *boundaries;  // [2^bits], [2^bits - 1]
  // The Gaussian codebooks of 1 to 8 bits one behind the other (factor_book); of b bits 2^b levels, and 2^b -
  // 1 boundaries.
  const float *factor_levels, *factor_boundaries;
  bool tiles;                         // the tensor cores read it, and these are set:
  const std::uint32_t* factor_pairs;  // [kFactorPairs]
  std::uint32_t level_bytes[4];       // the levels as signed bytes, in units of level_unit
  float level_unit;
  const float *enter, *leave;  // [d, d], row j: what coordinate j becomes; null: no rotation
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

// Where the next block of a layer's K or V goes: into `page`, or, where that has no room left, into `next`.
struct PageCursor {
  std::uint8_t* page;
  std::uint64_t used, size;  // bytes of it
  std::uint8_t* next;        // an empty one, or null
  std::uint64_t next_size;
};

// What stands before the codes of a block in its first bytes: rank, shares, widths.
constexpr int kHeadBytes = 2 + 3 * kMostRank;

struct SideView {
  CodecView codec;
  std::uint8_t** blocks;  // [blocks, heads]: where each starts
  std::uint32_t* sizes;   // [blocks, heads], bytes
  PageCursor* cursor;
  std::uint8_t* ring;   // [heads, ring_tokens, d], f16 or f32: the token at position t in row t % ring_tokens
  std::uint8_t* sinks;  // [heads, sink, d], the same type
  bool exact_f32;
};

struct LayerView {
  SideView side[2];  // K, V
  int layer, heads, d;
  std::int64_t block, sink, window, ring_tokens;
  const std::int64_t* position;  // of the step's first token
  unsigned long long* fault;     // 0, or where a row was not finite

  SKV_HD std::int64_t sealed_for(std::int64_t t) const { return t < window ? 0 : (t - window) / block; }
  SKV_HD int block_tokens(std::int64_t b) const { return static_cast<int>(b == 0 ? block - sink : block); }
};

SKV_HD inline std::int64_t exact_bytes(bool f32, std::int64_t values) {
  return values * (f32 ? 4 : 2);
}

}  // namespace spectralkv::device_kv
