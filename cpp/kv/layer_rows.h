// What attention of one layer got over a text, dense: for measurements.
#pragma once

#include "kv/attention.h"
#include "kv/cache.h"

namespace spectralkv {

// Of a text of n tokens: keys and values of all, queries of the last ones.
struct LayerRows {
  std::int64_t layer = 0;
  CacheShape shape;  // of the model's cache
  AttentionShape attention;
  ConstMatrix k, v;  // [n, n_kv_heads * head_dim], keys after RoPE
  ConstMatrix q;     // [n_queries, n_heads * head_dim]

  std::int64_t n_context() const { return k.rows - q.rows; }
  std::int64_t group() const { return attention.n_heads / shape.n_kv_heads; }
};

// out [n_queries, n_heads * head_dim]: what the queries get from keys k and values v [n, n_kv_heads *
// head_dim] in place of the layer's own.
void attend_to(const LayerRows& rows, ConstMatrix k, ConstMatrix v, ThreadPool& pool, Matrix out);

}  // namespace spectralkv
