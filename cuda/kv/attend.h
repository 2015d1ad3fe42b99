// The arguments of the attention kernels, and what they share: who may see whom.
#pragma once

#include <cstdint>

#include "cuda/kv/views.h"

namespace spectralkv::device_kv {

constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;

// Query rows of a KV head: row r is token r / group of the step, query head kv * group + r % group.
struct AttendArgs {
  LayerView layer;
  int rows, group;
  int sealed_items, exact_items;  // pieces of the context that are read side by side
  bool beside_tiles;              // attend_tiles reads the sealed blocks of heads that it can read
  std::int64_t sliding;           // tokens that a query sees, itself included; 0: all
  const float* plain;             // [heads, rows, d]: queries, scaled
  const float* entered;           // the same in K's codec space
  const std::int8_t* bytes;       // [heads, rows, byte_stride(d)]: `entered` in whole numbers,
  const float* steps;             // [heads, rows], times these
  float* states;                  // [heads, sealed_items + exact_items, rows, d + 2]: max, sum, output

  SKV_HD std::int64_t position_of(int row) const { return *layer.position + row / group; }
  SKV_HD std::int64_t state_at(int head, int item, int row) const {
    return ((static_cast<std::int64_t>(head) * (sealed_items + exact_items) + item) * rows + row) *
           (layer.d + 2);
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
