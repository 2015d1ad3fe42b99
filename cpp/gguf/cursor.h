// A bounds-checked reading position in an untrusted file.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/error.h"

namespace spectralkv {

static_assert(std::endian::native == std::endian::little, "GGUF numbers are read as they lie in the file");

// `text` made fit for an error message: bytes outside printable ASCII as \xNN, cut after 80.
std::string printable(std::string_view text);

class Cursor {
 public:
  // At most this much memory is taken for what a file's header declares, whatever its size.
  static constexpr std::uint64_t kMemoryLimit = 512ull << 20;

  // `bytes`: the whole file; `path` names it in errors. Both must outlive the cursor.
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  std::uint64_t position() const { return position_; }
  std::uint64_t size() const { return bytes_.size(); }
  std::uint64_t left() const { return bytes_.size() - position_; }
  const std::byte* at(std::uint64_t position) const { return bytes_.data() + position; }

  // What the following reads belong to, for errors: about("tensor", name). `name` must outlive the reads.
  void about(const char* kind, std::string_view name) {
    kind_ = kind;
    name_ = name;
  }

  // Throws a value error: file, current subject, then the arguments.
  template <class... Args>
  [[noreturn]] void fault(Room room, const Args&... args) const {
    fail(ErrorKind::value, room, "'", path_, "': ", subject(), args...);
  }

  // The next `bytes` bytes; moves past them.
  const std::byte* take(std::uint64_t bytes, const char* what) {
    if (bytes > left()) end_of_file(bytes, what);
    const std::byte* const start = bytes_.data() + position_;
    position_ += bytes;
    return start;
  }

  template <class T>
  T number(const char* what) {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }

  // A u64 length and as many bytes, any bytes. The view points into the file.
  std::string_view text(const char* what) {
    const auto length = number<std::uint64_t>(what);
    return {reinterpret_cast<const char*>(take(length, what)), static_cast<std::size_t>(length)};
  }

  // A name: a text of 1 to 65535 bytes.
  std::string_view name(const char* what);

  // Refuses a declared count that the rest of the file cannot hold at `min_bytes` each (>= 1).
  void need_items(std::uint64_t count, std::uint64_t min_bytes, const char* what) const;

  // To be called before memory is taken that the file's contents decide.
  void spend(std::uint64_t bytes) {
    if (bytes > budget_) over_budget();
    budget_ -= bytes;
  }

 private:
  std::string subject() const;
  [[noreturn]] void end_of_file(std::uint64_t bytes, const char* what) const;
  [[noreturn]] void over_budget() const;

  std::span<const std::byte> bytes_;
  const std::string& path_;
  std::uint64_t position_ = 0, budget_ = kMemoryLimit;
  const char* kind_ = nullptr;
  std::string_view name_;
};

}  // namespace spectralkv
