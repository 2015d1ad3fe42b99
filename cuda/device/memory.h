// Device memory that is owned.
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "cuda/device/device.h"

namespace spectralkv::device {

// n values of plain type on the device, uninitialised.
template <class T>
class DeviceBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  DeviceBuffer() = default;
  explicit DeviceBuffer(std::size_t n)
      : data_(n > 0 ? static_cast<T*>(allocate(n * sizeof(T))) : nullptr), size_(n) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer() {
    if (data_ != nullptr) release(data_);
  }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return size_ * sizeof(T); }

  void write(std::span<const T> from, Stream stream, std::size_t at = 0) {
    copy_to_device(data_ + at, from.data(), from.size_bytes(), stream);
  }
  // `to` holds the values once the stream has been waited for.
  void read(std::span<T> to, Stream stream, std::size_t at = 0) const {
    copy_to_host(to.data(), data_ + at, to.size_bytes(), stream);
  }
  // The value at `at`, once the stream has been waited for.
  T read_one(std::size_t at, Stream stream) const {
    T value{};
    read({&value, 1}, stream, at);
    synchronize(stream);
    return value;
  }
  // Grows to n values; what it held is lost then.
  void reserve(std::size_t n) {
    if (n > size_) *this = DeviceBuffer(n);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

// n values of plain type on the host, zeros at first, that copies to and from a device need not be waited
// for.
template <class T>
class PinnedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit PinnedBuffer(std::size_t n) : data_(static_cast<T*>(allocate_pinned(n * sizeof(T)))), size_(n) {
    for (std::size_t i = 0; i < n; ++i) data_[i] = T{};
  }
  PinnedBuffer(PinnedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~PinnedBuffer() {
    if (data_ != nullptr) release_pinned(data_);
  }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::span<T> first(std::size_t n) const { return {data_, n}; }

 private:
  T* data_;
  std::size_t size_;
};

}  // namespace spectralkv::device
