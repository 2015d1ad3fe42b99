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
  // As matrices [d, d], row i: what coordinate i becomes. Null data where nothing stretches.
  ConstMatrix place_matrix() const { return dense(place_); }
  ConstMatrix enter_matrix() const { return dense(enter_); }
  // x, out: [m, d], never the same memory. Rows that are to be stored;
  void place(ConstMatrix x, Matrix out) const;
  // queries;
  void enter(ConstMatrix x, Matrix out) const;
  // and rows back.
  void leave(ConstMatrix x, Matrix out) const;

 private:
  ConstMatrix dense(const Buffer<float>& matrix) const {
    return stretches() ? ConstMatrix(matrix.data(), rotation_.dim(), rotation_.dim()) : ConstMatrix{};
  }

  const CacheRotation& rotation_;
  Buffer<float> place_, enter_, leave_;  // [d, d], row i: what coordinate i becomes; empty: no metric
};

}  // namespace spectralkv
