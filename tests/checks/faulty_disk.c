// A disk that fails, to be preloaded: of the calls that change files under one folder, the n-th one fails, or
// that and all that follow. tests/checks/faulty_disk.py compiles and arms it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static long left = -1, calls;     // until the fault; -1: none comes
static int error, lasts, filled;  // filled: a write has taken the last bytes

// path: absolute. after: calls that succeed before; -1: all. forever: the disk stays as it is then.
void faulty_arm(const char* path, long after, int number, int forever) {
  snprintf(folder, sizeof folder, "%s", path);
  left = after;
  calls = 0;
  error = number;
  lasts = forever;
  filled = 0;
}

long faulty_calls(void) {
  return calls;
}

static int inside(const char* path) {
  const size_t n = strlen(folder);
  return n > 0 && path != NULL && strncmp(path, folder, n) == 0;
}

static int is_ours(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 0) return 0;
  path[n] = '\0';
  return inside(path);
}

static int fails(int ours) {
  if (!ours) return 0;
  ++calls;
  if (left < 0 || left-- > 0) return 0;
  if (lasts) left = 0;
  errno = error;
  return 1;
}

#define REAL(name, type, ...)       \
  static type (*real)(__VA_ARGS__); \
  if (real == NULL) *(void**)(&real) = dlsym(RTLD_NEXT, name)

ssize_t write(int fd, const void* data, size_t n) {
  REAL("write", ssize_t, int, const void*, size_t);
  const int ours = is_ours(fd);
  if (!fails(ours)) return real(fd, data, n);
  // A disk that fills up takes a part before it takes no more.
  const int reason = errno;
  if (reason == ENOSPC && lasts && n > 1 && !filled) {
    filled = 1;
    return real(fd, data, n / 2);
  }
  errno = reason;
  return -1;
}

ssize_t pwrite64(int fd, const void* data, size_t n, off64_t at) {
  REAL("pwrite64", ssize_t, int, const void*, size_t, off64_t);
  return fails(is_ours(fd)) ? -1 : real(fd, data, n, at);
}

ssize_t pwrite(int fd, const void* data, size_t n, off_t at) {
  REAL("pwrite", ssize_t, int, const void*, size_t, off_t);
  return fails(is_ours(fd)) ? -1 : real(fd, data, n, at);
}

ssize_t writev(int fd, const struct iovec* parts, int n) {
  REAL("writev", ssize_t, int, const struct iovec*, int);
  return fails(is_ours(fd)) ? -1 : real(fd, parts, n);
}

ssize_t sendfile64(int to, int from, off64_t* at, size_t n) {
  REAL("sendfile64", ssize_t, int, int, off64_t*, size_t);
  return fails(is_ours(to)) ? -1 : real(to, from, at, n);
}

ssize_t sendfile(int to, int from, off_t* at, size_t n) {
  REAL("sendfile", ssize_t, int, int, off_t*, size_t);
  return fails(is_ours(to)) ? -1 : real(to, from, at, n);
}

int fsync(int fd) {
  REAL("fsync", int, int);
  return fails(is_ours(fd)) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL("fdatasync", int, int);
  return fails(is_ours(fd)) ? -1 : real(fd);
}

int ftruncate(int fd, off_t n) {
  REAL("ftruncate", int, int, off_t);
  return fails(is_ours(fd)) ? -1 : real(fd, n);
}

int ftruncate64(int fd, off64_t n) {
  REAL("ftruncate64", int, int, off64_t);
  return fails(is_ours(fd)) ? -1 : real(fd, n);
}

int rename(const char* from, const char* to) {
  REAL("rename", int, const char*, const char*);
  return fails(inside(to)) ? -1 : real(from, to);
}

int renameat(int from_at, const char* from, int to_at, const char* to) {
  REAL("renameat", int, int, const char*, int, const char*);
  return fails(inside(to)) ? -1 : real(from_at, from, to_at, to);
}

int mkdir(const char* path, mode_t mode) {
  REAL("mkdir", int, const char*, mode_t);
  return fails(inside(path)) ? -1 : real(path, mode);
}

// Of files that are written alone: what reads may close as it likes. The descriptor is gone, as on a real
// disk.
int close(int fd) {
  REAL("close", int, int);
  const int written = (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && is_ours(fd);
  const int done = real(fd);
  return fails(written && done == 0) ? -1 : done;
}

#define OPEN(name)                             \
  int name(const char* path, int flags, ...) { \
    REAL(#name, int, const char*, int, ...);   \
    mode_t mode = 0;                           \
    if ((flags & O_CREAT) != 0) {              \
      va_list more;                            \
      va_start(more, flags);                   \
      mode = va_arg(more, mode_t);             \
      va_end(more);                            \
      if (fails(inside(path))) return -1;      \
    }                                          \
    return real(path, flags, mode);            \
  }

OPEN(open)
OPEN(open64)
