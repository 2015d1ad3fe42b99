// A temporary file, synced and renamed.
#include "base/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <random>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr std::string_view kMark = ".tmp-";
constexpr std::size_t kDigits = 16;  // behind the mark
constexpr std::size_t kLongest =
    200;  // bytes of the target's name that the temporary one takes; 255 are possible
constexpr int kTries = 100, kLinks = 40;

struct Place {
  std::string folder, name;  // the folder with its slash, or empty
};

Place place_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::size_t begin = slash == std::string::npos ? 0 : slash + 1;
  return {path.substr(0, begin), path.substr(begin)};
}

std::string random_digits() {
  std::random_device entropy;
  std::array<char, kDigits + 1> text{};
  std::snprintf(text.data(), text.size(), "%08x%08x", entropy(), entropy());
  return text.data();
}

bool is_temporary(std::string_view name) {
  if (name.size() < kMark.size() + kDigits) return false;
  const std::string_view digits = name.substr(name.size() - kDigits);
  return name.substr(0, name.size() - kDigits).ends_with(kMark) &&
         digits.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Whether the descriptor's file still has this name.
bool has_name(int fd, const std::string& path) {
  struct stat open_file {
  }, named{};
  return ::fstat(fd, &open_file) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

// Its writer holds a lock as long as it lives, in whatever container; so who gets the lock may remove it.
void remove_if_left(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0 && has_name(fd, path)) ::unlink(path.c_str());
  ::close(fd);
}

// Makes the new name last through a power cut. False with errno when the disk fails; a folder that cannot be
// synced at all is no failure.
bool sync_folder(const std::string& path) {
  const std::string folder = place_of(path).folder;
  const int fd = ::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return true;
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  errno = error;
  return error != EIO && error != ENOSPC;
}

}  // namespace

void remove_left_over(const std::string& folder, const std::string& prefix) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder.empty() ? "." : folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && is_temporary(name)) remove_if_left(entry.path().string());
  }
}

AtomicFile::AtomicFile(const std::string& path, const char* room, FileAccess access)
    : path_(path), target_(path), room_(room), access_(access) {
  for (int links = 0;; ++links) {
    std::error_code error;
    const std::filesystem::path leads_to = std::filesystem::read_symlink(target_, error);
    if (error) break;  // no link
    if (links == kLinks) refuse_for(ELOOP);
    target_ = (std::filesystem::path(target_).parent_path() / leads_to).string();
  }
  struct stat there {};
  if (::stat(target_.c_str(), &there) == 0) {
    if (S_ISDIR(there.st_mode)) refuse_for(EISDIR);
    if (!S_ISREG(there.st_mode)) refuse("it is no regular file, and only those are written");
    if (::faccessat(AT_FDCWD, target_.c_str(), W_OK, AT_EACCESS) != 0) refuse_for(errno);
  } else if (errno != ENOENT) {
    refuse_for(errno);
  }
  make_temporary();
  try {
    keep_mode();
  } catch (...) {
    ::close(fd_);
    ::unlink(temporary_.c_str());
    throw;
  }
}

void AtomicFile::make_temporary() {
  const auto [folder, name] = place_of(target_);
  if (name.empty()) refuse_for(path_.empty() ? ENOENT : EISDIR);
  const std::string start = name.substr(0, kLongest) + std::string(kMark);
  remove_left_over(folder, start);
  const mode_t mode = access_ == FileAccess::owner ? 0600 : 0666;
  for (int tries = 0; tries < kTries; ++tries) {
    temporary_ = folder + start + random_digits();
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd_ < 0 && errno == EEXIST) continue;
    if (fd_ < 0) refuse_for(errno);
    ::flock(fd_, LOCK_EX);  // where there are no locks, nobody gets one to remove it either
    if (has_name(fd_, temporary_)) return;
    ::close(fd_);  // taken for a left-over before it was locked
  }
  fd_ = -1;
  refuse_for(EEXIST);
}

// As the file that it replaces.
void AtomicFile::keep_mode() {
  struct stat there {
  }, own{};
  if (::stat(target_.c_str(), &there) != 0) return;
  if (::fstat(fd_, &own) != 0) refuse_for(errno);
  mode_t mode = there.st_mode & 0777;
  // Where the group cannot stay, the one that takes its place gets what everybody has.
  if (there.st_gid != own.st_gid && ::fchown(fd_, static_cast<uid_t>(-1), there.st_gid) != 0)
    mode = (mode & ~070u) | ((mode & 07u) << 3);
  if (there.st_uid != own.st_uid) static_cast<void>(::fchown(fd_, there.st_uid, static_cast<gid_t>(-1)) == 0);
  if (::fchmod(fd_, mode) != 0) refuse_for(errno);
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::unlink(temporary_.c_str());
  ::close(fd_);
}

void AtomicFile::refuse(const std::string& reason) const {
  fail(ErrorKind::os, room_, "cannot write '", path_, "': ", reason);
}

void AtomicFile::refuse_for(int error) const {
  refuse(std::strerror(error));
}

void AtomicFile::write(std::span<const std::byte> data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) refuse_for(errno);
    data = data.subspan(static_cast<std::size_t>(n));
  }
}

void AtomicFile::commit() {
  if (::fsync(fd_) != 0) refuse_for(errno);
  if (std::rename(temporary_.c_str(), target_.c_str()) != 0) refuse_for(errno);
  ::close(fd_);  // synced: nothing is left that could fail
  fd_ = -1;
  if (!sync_folder(target_)) refuse_for(errno);
}

}  // namespace spectralkv
