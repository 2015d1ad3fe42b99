// Shape messages.
#include "tensor/shape_check.h"

#include "base/error.h"

namespace spectralkv {

void ShapeCheck::operator()(const WeightView& w, std::string_view shape) const {
  const std::int64_t rows = shape.size() == 1 ? 1 : sizes_.at(shape[0]);
  const std::int64_t cols = sizes_.at(shape.back());
  check(w.rows == rows && w.cols == cols, "tensor", "'", file_, "': tensor '", w.name, "' is [", w.rows, ", ",
        w.cols, "], expected [", rows, ", ", cols, "]");
}

}  // namespace spectralkv
