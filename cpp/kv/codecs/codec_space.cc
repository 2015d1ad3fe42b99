// The stretch and the turn as one matrix each way.
#include "kv/codecs/codec_space.h"

#include "kv/codecs/shared_tables.h"
#include "spectral/metric.h"

namespace spectralkv {

CodecSpace::CodecSpace(const CacheRotation& rotation, ConstMatrix metric) : rotation_(rotation) {
  const std::int64_t d = metric.rows;
  const auto size = static_cast<std::size_t>(d * d);
  place_ = Buffer<float>(size), enter_ = Buffer<float>(size), leave_ = Buffer<float>(size);
  Buffer<float> inverse(size);
  invert_stretch(metric, {inverse.data(), d, d});
  rotation.enter(metric, {place_.data(), d, d});
  rotation.enter({inverse.data(), d, d}, {enter_.data(), d, d});
  for (std::int64_t i = 0; i < d; ++i)
    for (std::int64_t j = 0; j < d; ++j)
      leave_[static_cast<std::size_t>(j * d + i)] = enter_[static_cast<std::size_t>(i * d + j)];
}

void CodecSpace::place(ConstMatrix x, Matrix out) const {
  place_.empty() ? rotation_.enter(x, out) : multiply_rows(x, place_.data(), out);
}

void CodecSpace::enter(ConstMatrix x, Matrix out) const {
  enter_.empty() ? rotation_.enter(x, out) : multiply_rows(x, enter_.data(), out);
}

void CodecSpace::leave(ConstMatrix x, Matrix out) const {
  leave_.empty() ? rotation_.leave(x, out) : multiply_rows(x, leave_.data(), out);
}

}  // namespace spectralkv
