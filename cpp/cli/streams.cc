// Reads and writes of text with their errors.
#include "cli/streams.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/log.h"
#include "cli/text_encoding.h"

namespace spectralkv {
namespace {

// Appends what one read gives; false at the end or when Ctrl-C came.
bool read_some(int file, std::string& buffer, const std::string& name) {
  char bytes[65536];
  for (;;) {
    if (!InterruptGuard::wait_readable(file)) return false;
    const ssize_t n = ::read(file, bytes, sizeof bytes);
    if (n > 0) {
      buffer.append(bytes, static_cast<std::size_t>(n));
      return true;
    }
    if (n == 0) return false;
    if (errno != EINTR) fail(ErrorKind::os, "cli", "cannot read ", name, ": ", std::strerror(errno));
  }
}

// All that is left.
std::string read_all(int file, const std::string& name) {
  std::string text;
  while (read_some(file, text, name)) {
  }
  if (InterruptGuard::interrupted()) fail(ErrorKind::interrupted, "cli", "interrupted while reading ", name);
  return text;
}

}  // namespace

void write_out(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  if (errno == EPIPE) throw BrokenPipe{};
  fail(ErrorKind::os, "cli", "cannot write to standard output: ", std::strerror(errno));
}

std::optional<std::string> LineReader::next() {
  std::size_t searched = 0;
  for (;;) {
    const std::size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      if (!line.empty() && line.back() == '\r') line.pop_back();
      return line;
    }
    searched = buffer_.size();
    if (!ended_ && read_some(STDIN_FILENO, buffer_, "standard input")) continue;
    if (InterruptGuard::interrupted()) return std::nullopt;
    ended_ = true;
    if (buffer_.empty()) return std::nullopt;
    return std::exchange(buffer_, {});
  }
}

bool LineReader::waiting(int ms) const {
  if (!buffer_.empty()) return true;
  pollfd input{STDIN_FILENO, POLLIN, 0};
  return !ended_ && ::poll(&input, 1, ms) > 0 && (input.revents & POLLIN) != 0;
}

std::string read_whole_file(const std::string& path) {
  if (path == "-") return read_all(STDIN_FILENO, "standard input");
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0)
    fail(errno == ENOENT ? ErrorKind::file_not_found : ErrorKind::os, "cli", "cannot open '", path,
         "': ", std::strerror(errno));
  try {
    std::string text = read_all(file, "'" + path + "'");
    ::close(file);
    return text;
  } catch (...) {
    ::close(file);
    throw;
  }
}

std::string read_text_file(const std::string& path) {
  std::string warning;
  std::string text =
      plain_text(read_whole_file(path), path == "-" ? "standard input" : "'" + path + "'", warning);
  if (!warning.empty()) Log(LogLevel::info).info("warning: ", warning);
  return text;
}

bool stdin_is_terminal() {
  return isatty(STDIN_FILENO) == 1;
}

}  // namespace spectralkv
