// How a codec's rows lie in codec space: head space turned by a rotation Pi, stretched by a head's metric T
// before where there is one. Rows are stored as Pi T x and queries meet them as Pi T^-1 q.
#pragma once

#include "base/buffer.h"
#include "kv/codecs/shared_tables.h"
#include "tensor/matrix.h"

namespace spectralkv {

class CodecSpace {
 public:
  explicit CodecSpace(const CacheRotation& rotation) : rotation_(rotation) {}
  // metric: T [d, d], a stretch (spectral/metric.h).
  CodecSpace(const CacheRotation& rotation, ConstMatrix metric);

  bool stretches() const { return !place_.empty(); }
  // x, out: [m, d], never the same memory. Rows that are to be stored;
  void place(ConstMatrix x, Matrix out) const;
  // queries;
  void enter(ConstMatrix x, Matrix out) const;
  // and rows back.
  void leave(ConstMatrix x, Matrix out) const;

 private:
  const CacheRotation& rotation_;
  Buffer<float> place_, enter_, leave_;  // [d, d], row i: what coordinate i becomes; empty: no metric
};

}  // namespace spectralkv
