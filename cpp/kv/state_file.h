// The state file: a session's tokens, its last logits and what its cache holds, so that it can go on later
// with identical logits. Written atomically, read with every number checked.
//
// All numbers are little endian and follow each other without padding; a text is u32 length and bytes.
//
//   magic      8 bytes "SPKVSTAT"; u32 version, 1
//   model      u64 fingerprint (engine/fingerprint.h); u32 layers, KV heads, head_dim, vocabulary
//   sequence   u64 n tokens; i32 ids [n]; u8 1 and f32 logits [vocabulary] after the last token, or u8 0
//   rotation   u64 seed of the rotations that codecs use
//   layers     each: u32 block, sink and window of its layout; u64 blocks; then K, then V:
//                text    codec spec, canonical
//                text    exact codec of sinks and tail ("f16", "f32")
//                blocks  each: u32 offsets [KV heads + 1], rising from 0; the bytes up to the last one
//                sinks   exact rows of tokens 0 to min(sink, n), head by head
//                tail    exact rows of the tokens behind the blocks, head by head
//   trailer    u64 bytes of the whole file; u64 checksum of all that stands before it
//
// The checksum takes the bytes as u64 words w, the last one filled up with zeros: h = (h ^ w) * M, then h ^=
// h >> 32, from h = M, with M = 0x9e3779b97f4a7c15. Each step can be undone, so two files that differ in one
// word alone never agree.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mapped_file.h"

namespace spectralkv {

inline constexpr std::string_view kStateMagic = "SPKVSTAT";
inline constexpr std::uint32_t kStateVersion = 1;

// What a file begins with, and what messages call it. Others than state files are written and read alike.
struct CheckedFormat {
  std::string_view magic = kStateMagic;  // 8 bytes
  std::uint32_t version = kStateVersion;
  const char* name = "state file";
};

class StateHash {
 public:
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const;  // of the bytes so far

 private:
  std::uint64_t hash_ = 0x9e3779b97f4a7c15ull;
  std::array<std::byte, 8> word_{};
  std::size_t held_ = 0;
};

// Writes as an AtomicFile does; a new file is its owner's alone, because it holds text.
class StateWriter {
 public:
  explicit StateWriter(const std::string& path, const CheckedFormat& format = {});

  void bytes(std::span<const std::byte> data);
  void text(std::string_view text);
  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes(std::as_bytes(std::span(&value, 1)));
  }
  void commit();

 private:
  void flush();

  AtomicFile file_;
  StateHash hash_;
  std::string pending_;
  std::uint64_t total_ = 0;
};

// A state file whose magic, version, length and checksum are right. What it says is untrusted all the same.
class StateReader {
 public:
  explicit StateReader(const std::string& path, const CheckedFormat& format = {});

  // Views into the file. Asking for more than there is refuses the file.
  std::span<const std::byte> bytes(std::uint64_t n);
  std::string_view text();
  template <class T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    T value;
    std::memcpy(&value, bytes(sizeof value).data(), sizeof value);
    return value;
  }
  // The number that comes next.
  template <class T>
  T peek() const {
    static_assert(std::is_arithmetic_v<T>);
    require(sizeof(T) <= rest_.size(), "it ends too early");
    T value;
    std::memcpy(&value, rest_.data(), sizeof value);
    return value;
  }
  // Refuses the file unless it ends here, or n bytes further on.
  void finish() { require_left(0); }
  void require_left(std::uint64_t n);
  template <class... Args>
  void require(bool ok, const Args&... reason) const {
    if (!ok) [[unlikely]]
      refuse(concat(reason...));
  }
  [[noreturn]] void refuse(const std::string& reason) const;

 private:
  MappedFile file_;
  const char* name_;
  std::span<const std::byte> rest_;
};

}  // namespace spectralkv
