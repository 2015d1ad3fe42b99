// Attention over dense rows is that of an exact cache.
#include "kv/layer_rows.h"

namespace spectralkv {

void attend_to(const LayerRows& rows, ConstMatrix k, ConstMatrix v, ThreadPool& pool, Matrix out) {
  CacheShape shape = rows.shape;
  shape.n_layers = 1;
  const CacheFormat format(shape, "f32", "f32");
  CacheWork work(pool, BlockPool());
  LayerStore store(format.layer(0), rows.k.rows);
  const std::int64_t n = rows.n_context(), m = rows.q.rows;
  { const Appended context(store, k.rows_range(0, n), v.rows_range(0, n), work); }
  const Appended queries(store, k.rows_range(n, m), v.rows_range(n, m), work);
  attend(queries, rows.attention, rows.q, out, work);
}

}  // namespace spectralkv
