// Weights of one type written as another, over threads.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/threads.h"
#include "tensor/matrix.h"

namespace spectralkv {

// Bytes of `from` in type `to`; a value error names the tensor when its rows are no multiple of the type's
// block.
std::int64_t requantized_bytes(const WeightView& from, DType to);

// Writes `from` as type `to` into out [requantized_bytes]; the bytes do not depend on the number of threads.
// importance: how much errors of each column count, not negative, [n matrices, cols] for a tensor of n
// matrices of the same size behind each other; empty: all count the same. A value error names the tensor, row
// and column of a value that is NaN or infinite, or that `to` cannot hold; and a type that has no encoder.
void requantize(const WeightView& from, DType to, std::span<std::byte> out, ThreadPool& pool,
                std::span<const float> importance = {});

// The same check of the values alone, for weights that keep their type.
void check_finite(const WeightView& w, ThreadPool& pool);

// The mean of the squares of what `a` decodes to, and of the difference from `b`, of the same shape.
struct Distortion {
  double signal = 0, error = 0;
};
Distortion distortion(const WeightView& a, const WeightView& b, ThreadPool& pool);

}  // namespace spectralkv
