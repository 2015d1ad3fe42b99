// Attention over a cache: reads sealed blocks in codec space and the exact tokens as they are, never a dense
// context.
#pragma once

#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "kv/cache.h"
#include "kv/state.h"

namespace spectralkv {

struct AttentionShape {
  std::int64_t n_heads = 0;         // query heads, a multiple of the cache's KV heads
  float scale = 0;                  // of the logits, 1 / sqrt(head_dim)
  std::int64_t sliding_window = 0;  // tokens that a query sees, itself included; 0: all
};

class Attention {
 public:
  explicit Attention(ThreadPool& pool) : pool_(pool), workers_(static_cast<std::size_t>(pool.size())) {}

  // out[t][h] = softmax(scale q K^T) V for the n newest tokens, which `staged` (Cache::append of this layer)
  // holds. q, out: [n, n_heads * head_dim]. The same bits for any batch and any number of threads.
  void run(const Cache& cache, std::int64_t layer, const Cache::Staged& staged, const AttentionShape& shape,
           ConstMatrix q, Matrix out);

  std::int64_t work_bytes() const;

 private:
  struct Worker {
    Buffer<float> floats;
    Buffer<std::byte> rounded;  // a tile's queries
    CodecWork codec;
  };
  struct Job;
  struct Tile;

  ThreadPool& pool_;
  std::vector<Worker> workers_;
  Buffer<float> states_;  // of split contexts: [tile, span] states
};

}  // namespace spectralkv
