// Views that carry their shape: dense f32 matrices, and weights in any GGUF type. They never own memory.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "base/mapped_file.h"
#include "tensor/dtype.h"

namespace spectralkv {

// [rows, cols], row-major, rows `stride` values apart.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0, cols = 0, stride = 0;

  MatrixView() = default;
  MatrixView(T* d, std::int64_t r, std::int64_t c) : data(d), rows(r), cols(c), stride(c) {}
  MatrixView(T* d, std::int64_t r, std::int64_t c, std::int64_t s) : data(d), rows(r), cols(c), stride(s) {}
  // A mutable view converts to a const one.
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_same_v<U, T>)
      MatrixView(const MatrixView<U>& other)  // NOLINT(google-explicit-constructor)
      : data(other.data), rows(other.rows), cols(other.cols), stride(other.stride) {}

  T* row(std::int64_t r) const {
    assert(r >= 0 && r < rows);
    return data + r * stride;
  }
  T& operator()(std::int64_t r, std::int64_t c) const {
    assert(c >= 0 && c < cols);
    return row(r)[c];
  }
  MatrixView rows_range(std::int64_t begin, std::int64_t n) const {
    assert(begin >= 0 && n >= 0 && begin + n <= rows);
    return {data + begin * stride, n, cols, stride};
  }
  MatrixView cols_range(std::int64_t begin, std::int64_t n) const {
    assert(begin >= 0 && n >= 0 && begin + n <= cols);
    return {data + begin, rows, n, stride};
  }
};

using Matrix = MatrixView<float>;
using ConstMatrix = MatrixView<const float>;

// What a backend made of a weight, in memory of its own; only the backend that made it knows its type.
class UploadedWeight {
 protected:
  UploadedWeight() = default;
  ~UploadedWeight() = default;
};

// A weight tensor as the file holds it. [rows, cols] with cols the contiguous (ggml's first) dimension; a
// vector has rows = 1.
struct WeightView {
  DType type = DType::f32;
  const std::byte* data = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::string name;
  const UploadedWeight* uploaded = nullptr;  // null: a backend computes with `data`
  const MappedFile* file = nullptr;          // that `data` lies in; null: it lies in other memory

  std::int64_t row_bytes() const { return dtype_info(type).row_bytes(cols); }
  const std::byte* row(std::int64_t r) const { return data + r * row_bytes(); }
  std::int64_t bytes() const { return rows * row_bytes(); }
  // Lets the memory go that holds the file's pages of rows [begin, end), or of all; they come back from it
  // when they are read again.
  void forget(std::int64_t begin, std::int64_t end) const {
    if (file != nullptr) file->forget({row(begin), static_cast<std::size_t>((end - begin) * row_bytes())});
  }
  void forget() const { forget(0, rows); }
};

}  // namespace spectralkv
