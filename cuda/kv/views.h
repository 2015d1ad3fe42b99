// What kernels know of a cache: plain structs that travel as their arguments.
#pragma once

#include <cstdint>

#include "cuda/codecs/codec_view.h"
#include "kv/layout.h"
#include "kv/pages.h"

namespace spectralkv::device_kv {

struct SideView {
  CodecView codec;
  std::uint8_t** blocks;  // [blocks, heads]: where each starts
  std::uint32_t* sizes;   // [blocks, heads], bytes
  PageCursor* cursor;
  std::uint8_t* ring;   // [heads, ring_tokens, d], f16 or f32: the token at position t in row t % ring_tokens
  std::uint8_t* sinks;  // [heads, sink, d], the same type
  bool exact_f32;
};

struct LayerView : CacheLayout {
  SideView side[2];  // K, V
  int layer, heads, d;
  std::int64_t ring_tokens;
  const std::int64_t* position;  // of the step's first token
  unsigned long long* fault;     // 0, or where a row was not finite

  SKV_HD int block_tokens(std::int64_t b) const { return static_cast<int>(CacheLayout::block_tokens(b)); }
};

SKV_HD inline std::int64_t exact_bytes(bool f32, std::int64_t values) {
  return values * (f32 ? 4 : 2);
}

}  // namespace spectralkv::device_kv
