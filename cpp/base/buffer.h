// A move-only array of plain values, aligned to 64 bytes, for weights, caches and activations.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <span>
#include <type_traits>
#include <utility>

namespace spectralkv {

// Asks for large pages where the system has some: what is read from end to end then misses the page tables
// less. For what will be written whole: a large page that is touched is there whole.
void advise_huge_pages(void* data, std::size_t bytes);

// A memory error that names the size; a value error for one that no memory has.
[[noreturn]] void refuse_buffer(std::size_t n_values, std::size_t value_bytes);

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  static constexpr std::size_t kAlignment = 64;

  Buffer() = default;
  // n values, uninitialised; a memory error names the size.
  explicit Buffer(std::size_t n) : size_(n) {
    if (n == 0) return;
    if (n > (static_cast<std::size_t>(-1) >> 1) / sizeof(T)) refuse_buffer(n, sizeof(T));
    const std::size_t bytes = (n * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    data_ = static_cast<T*>(std::aligned_alloc(kAlignment, bytes));
    if (data_ == nullptr) refuse_buffer(n, sizeof(T));
  }
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  static Buffer zeros(std::size_t n) {
    Buffer result(n);
    if (n > 0) std::memset(static_cast<void*>(result.data_), 0, n * sizeof(T));
    return result;
  }
  Buffer copy() const {
    Buffer result(size_);
    if (size_ > 0) std::memcpy(static_cast<void*>(result.data_), data_, size_ * sizeof(T));
    return result;
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }
  bool empty() const { return size_ == 0; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::span<T> span() { return {data_, size_}; }
  std::span<const T> span() const { return {data_, size_}; }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace spectralkv
