// The arguments of the attention kernels, and what they share: who may see whom.
#pragma once

#include <cstdint>

#include "cuda/kv/views.h"
#include "cuda/ops/activations.cuh"

namespace spectralkv::device_kv {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

// A sequence whose tokens attend. How its context is split into items is its own affair, so that what it gets
// does not depend on the others.
struct PartView {
  StoreView store;
  int first;                      // row of its first token among a step's
  int sealed_items, exact_items;  // pieces of the context that are read side by side
};
// Sequences that attend in one launch, which their views travel to as arguments.
constexpr int kMostParts = 16;

// Where joined states go.
struct JoinedRows {
  float* data;  // [tokens of the step, heads * group * d], rows `stride` apart
  std::int64_t stride;
  cuda::QuantRows
      rounded;  // if it has memory, the same in 8 bits; d is a multiple of 32 then, no row has gaps
  // [pairs, blocks of rows], zeros between launches: how many blocks of threads have their states there. The
  // last one joins them. Null: this launch is not the last one that makes states.
  unsigned* arrived;
};

// Parts of one format, each with as many tokens, several only of one. Query rows of a KV head of a part: row
// r is token r / group of it, query head kv * group + r % group. A pair is a part and a KV head of it, part
// heads + head, in every grid blockIdx.y.
struct AttendArgs {
  LayerView layer;
  PartView parts[kMostParts];
  int n_parts;
  int rows, group;
  int items;                 // that states have room for, of a pair
  bool beside_tiles;         // attend_tiles reads the sealed blocks of heads that it can read
  std::int64_t sliding;      // tokens that a query sees, itself included; 0: all
  const float* plain;        // [pairs, rows, d]: queries, scaled
  const float* entered;      // the same in K's codec space
  const std::int8_t* bytes;  // [pairs, rows, byte_stride(d)]: `entered` in whole numbers,
  const float* steps;        // [pairs, rows], times these
  float* states;             // [pairs, items, rows, d + 2]: max, sum, output
  JoinedRows joined;

  SKV_HD int pairs() const { return n_parts * layer.heads; }
  SKV_HD int head_of(int pair) const { return pair % layer.heads; }
  SKV_HD const PartView& part_of(int pair) const { return parts[pair / layer.heads]; }
  SKV_HD std::int64_t position_of(const PartView& part, int row) const {
    return *part.store.position + row / group;
  }
  SKV_HD std::int64_t state_at(int pair, int item, int row) const {
    return ((static_cast<std::int64_t>(pair) * items + item) * rows + row) * (layer.d + 2);
  }
  SKV_HD bool in_window(std::int64_t t, std::int64_t position) const {
    return position <= t && (sliding == 0 || position > t - sliding);
  }
};

SKV_HD inline int byte_stride(int d) {
  return (d + 31) / 32 * 32;
}

// A pair of f16; what is beyond them is the largest.
__device__ __forceinline__ std::uint32_t halves_within(float a, float b) {
  return device::f32x2_to_f16x2(fminf(fmaxf(a, -65504.0f), 65504.0f), fminf(fmaxf(b, -65504.0f), 65504.0f));
}

}  // namespace spectralkv::device_kv
