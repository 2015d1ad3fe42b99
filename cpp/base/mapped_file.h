// A whole file mapped read-only into memory.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

namespace spectralkv {

class MappedFile {
 public:
  // Throws file_not_found when there is no such file, os when it cannot be opened, is a folder or is empty.
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept
      : path_(std::move(other.path_)),
        data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)) {}
  MappedFile& operator=(MappedFile&&) = delete;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  bool has(const std::byte* place) const { return data_ <= place && place < data_ + size_; }
  // Lets go of the memory of pages that lie within `part` of bytes(), if it is one; reading brings them back.
  void forget(std::span<const std::byte> part) const;
  // Asks the disk for `bytes` from `place` on, what of them the file has, and does not wait for it.
  void expect(const std::byte* place, std::size_t bytes) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace spectralkv
