// POSIX implementation of MappedFile.
#include "base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace spectralkv {

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe would wait for a writer
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    fail(ErrorKind::file_not_found, "base", "no such file: '", path, "'");
  if (fd < 0) fail(ErrorKind::os, "base", "cannot open '", path, "': ", std::strerror(errno));
  struct stat info {};
  const bool known = ::fstat(fd, &info) == 0;
  if (!known || !S_ISREG(info.st_mode) || info.st_size <= 0) {
    ::close(fd);
    fail(ErrorKind::os, "base", "'", path, "' is ",
         known && S_ISREG(info.st_mode) ? "an empty" : "not a regular", " file");
  }
  size_ = static_cast<std::size_t>(info.st_size);
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
  const int error = errno;
  ::close(fd);
  if (address == MAP_FAILED) fail(ErrorKind::os, "base", "cannot map '", path, "': ", std::strerror(error));
  data_ = static_cast<const std::byte*>(address);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::forget(std::span<const std::byte> part) const {
  if (part.data() < data_ || part.data() + part.size() > data_ + size_) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t begin = (static_cast<std::size_t>(part.data() - data_) + page - 1) / page * page;
  const std::size_t end = static_cast<std::size_t>(part.data() + part.size() - data_) / page * page;
  if (begin < end) ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_DONTNEED);  // a hint
}

void MappedFile::expect(const std::byte* place, std::size_t bytes) const {
  if (!has(place)) return;
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const auto at = static_cast<std::size_t>(place - data_), begin = at / page * page;
  const std::size_t end = std::min(at + bytes, size_);
  ::madvise(const_cast<std::byte*>(data_) + begin, end - begin, MADV_WILLNEED);  // a hint
}

}  // namespace spectralkv
