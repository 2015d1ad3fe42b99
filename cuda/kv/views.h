// What kernels know of a cache: plain structs that travel as their arguments.
#pragma once

#include <cstdint>

#include "cuda/codecs/codec_view.h"
#include "cuda/device/device.h"
#include "kv/bits_by_head.h"
#include "kv/layout.h"
#include "kv/pages.h"

namespace spectralkv::device_kv {

// A matrix [d, d] for each head, row j: what coordinate j becomes. Null data: nothing changes.
struct HeadMatrices {
  const float* data;
  std::int64_t apart;  // from a head's to the next one's; 0: all have the same
  SKV_HD const float* of(int head) const { return data == nullptr ? nullptr : data + head * apart; }
};

// Heads have codecs of one spec, which differ in their width at most; what else a calibration makes of a head
// are its matrices.
constexpr int kMostCodecs = kMostBitsByHead - kLeastBitsByHead + 1;

struct SideView {
  CodecView codecs[kMostCodecs];
  const std::uint8_t* codec_of;  // [heads], which of them; null: all have the first
  // Of queries into the space of keys, of rows to be sealed into that of their side, and out of that of
  // values.
  HeadMatrices enter, place, leave;
  bool exact_f32;

  __device__ __forceinline__ const CodecView& codec(int head) const {
    return codecs[codec_of == nullptr ? 0 : codec_of[head]];
  }
};

// What all sequences of a format have in common.
struct LayerView : CacheLayout {
  SideView side[2];  // K, V
  int layer, heads, d;
  const float* queries;  // [heads, group, d], the mean ones (LayerFormat::queries); null: none are known
  int group;             // of those

  SKV_HD int block_tokens(std::int64_t b) const { return static_cast<int>(CacheLayout::block_tokens(b)); }
};

// What a layer of one sequence holds.
struct StoreView {
  struct Side {
    std::uint8_t** blocks;  // [blocks, heads]: where each starts
    std::uint32_t* sizes;   // [blocks, heads], bytes
    PageCursor* cursor;
    std::uint8_t* ring;   // [heads, ring_tokens, d], f16 or f32: the token at t in row t % ring_tokens
    std::uint8_t* sinks;  // [heads, sink, d], the same type
  } side[2];
  std::int64_t ring_tokens;
  const std::int64_t* position;  // of the step's first token
  unsigned long long* fault;     // 0, or where a row was not finite
};

SKV_HD inline std::int64_t exact_bytes(bool f32, std::int64_t values) {
  return values * (f32 ? 4 : 2);
}

}  // namespace spectralkv::device_kv
