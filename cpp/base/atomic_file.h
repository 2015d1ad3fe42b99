// A file that is written whole or not at all: the one way in which the product makes files.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace spectralkv {

// Who may read a file that was not there before: whom the umask leaves, or its owner alone, because it holds
// text.
enum class FileAccess { usual, owner };

// Written under a name of its own beside `path`; only `commit` gives it that name, after all has reached the
// disk. Without it the temporary file goes and `path` stays as it was; what a killed process has left goes
// when the next one writes there. Any number of threads and processes may write one path: it is whole at any
// time, and the last to commit wins. A link is followed, a file keeps its mode, and what is no regular file,
// or may not be written, is refused. OS errors name the file; `room` is whose they are.
class AtomicFile {
 public:
  AtomicFile(const std::string& path, const char* room, FileAccess access = FileAccess::usual);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> data);
  void commit();

 private:
  void make_temporary();
  void keep_mode();
  [[noreturn]] void refuse(const std::string& reason) const;
  [[noreturn]] void refuse_for(int error) const;

  std::string path_, target_, temporary_;  // as given; what links lead to; empty: none
  const char* room_;
  FileAccess access_;
  int fd_ = -1;  // locked: by that others see that its writer lives
};

// Removes the files that killed processes have left of any target in `folder` whose name starts with
// `prefix`.
void remove_left_over(const std::string& folder, const std::string& prefix);

}  // namespace spectralkv
