// Sealing on the device: the arguments of its kernels and the memory they work in. All KV heads of a layer's
// K and V together, for as many blocks as a step completes: item = (block * 2 + side) * heads + head.
#pragma once

#include <cstdint>

#include "cuda/kv/views.h"
#include "kv/drawn_rows.h"

namespace spectralkv::device_kv {

// Rows of a step, [tokens, heads * d] of K and of V, that are not in the ring yet: tokens from `first` on.
// Null: all are.
struct FreshRows {
  const float* rows[2] = {};
  std::int64_t apart[2] = {};  // values from one token's to the next one's
  std::int64_t first = 0;
};

// Items that are sealed together at most: two thread blocks for each multiprocessor of a large device.
constexpr int kSealAtOnce = 256;

struct SealArgs {
  LayerView layer;
  StoreView store;
  FreshRows fresh;
  std::int64_t index;  // of the first block
  int n;               // tokens of each
  int p, longer;       // the shorter and the longer side of [n, d]
  int column;          // of factors, a multiple of 16: codes behind the last token are 0
  std::int64_t slot_bytes;
  float* rows;           // [items, n, d]: scaled, in codec space
  int* exponents;        // [items]
  double* gram;          // [items, p, p]
  double* eigenvalues;   // [items, p], rising
  double* vectors;       // [items, kMostRank, p]: eigenvectors of the largest, as many as the rank says
  int* ranks;            // [items]
  double* phi;           // [items, kMostRank], in the unit of rows
  double* allowed;       // [items]: what the columns of a component may miss (quant/factor_math.h)
  double* long_vectors;  // [items, kMostRank, longer]
  float* factors;        // [items, 2, kMostRank, column]: left and right
  std::uint16_t* factor_codes;  // the same shape
  std::uint8_t* codes;          // [items, codes_apart], which takes [n, d] with n rounded up to 16
  std::int64_t codes_apart;
  float* to_points;     // [items, n], of a search: what brings a token's entries into its units
  std::uint8_t* slots;  // [items, slot_bytes]: blocks before they have a place
  std::uint32_t* used;  // [items], bytes
  // Rows with a second stage: of each head how many, and their tokens, rising.
  std::uint16_t* drawn;        // [blocks, heads, 1 + DrawnRows::kMost]
  double* logits;              // [blocks, heads, 2, block]
  float* kept;                 // [items, DrawnRows::kMost, d]
  std::uint8_t* second_codes;  // the same shape
  // Of the Gaussian codebook of each width.
  double distortion[kSkvWholeWidth];

  SKV_HD int head_of(int item) const { return item % layer.heads; }
  SKV_HD int which_of(int item) const { return item / layer.heads % 2; }
  SKV_HD int block_of(int item) const { return item / (2 * layer.heads); }  // the first is 0
  SKV_HD const SideView& side_of(int item) const { return layer.side[which_of(item)]; }
  __device__ __forceinline__ const CodecView& codec_of(int item) const {
    return side_of(item).codec(head_of(item));
  }
  SKV_HD std::uint16_t* drawn_of(int item) const {
    return drawn + (block_of(item) * layer.heads + head_of(item)) * (1 + DrawnRows::kMost);
  }
  SKV_HD std::uint8_t* codes_of(int item) const { return codes + item * codes_apart; }
  SKV_HD float* rows_of(int item) const { return rows + static_cast<std::int64_t>(item) * n * layer.d; }
};

}  // namespace spectralkv::device_kv
