// A file that is written whole or not at all.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace spectralkv {

// Written under a temporary name beside `path`; only `commit` gives it that name, after all has reached the
// disk. Without it the temporary file goes and `path` stays as it was. OS errors name the file; `room` is
// whose they are.
class AtomicFile {
 public:
  AtomicFile(const std::string& path, const char* room);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> data);
  void commit();

 private:
  [[noreturn]] void fail_write() const;

  std::string path_, temporary_;
  const char* room_;
  int fd_ = -1;
};

}  // namespace spectralkv
