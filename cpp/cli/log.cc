// Lines on stderr and the numbers in them.
#include "cli/log.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <utility>

#include "base/shown.h"

namespace spectralkv {
namespace {

bool on_terminal() {
  return isatty(STDERR_FILENO) != 0;
}

// Puts a text in place of the line that the cursor stands on.
void overwrite(const std::string& text) {
  std::fputs(("\r\033[K" + text).c_str(), stderr);
  std::fflush(stderr);
}

}  // namespace

void Log::line(const std::string& text) {
  std::fputs((shown(text) + "\n").c_str(), stderr);  // it may quote an untrusted file
}

void Log::progress(const char* what, std::int64_t done, std::int64_t total) const {
  if (level_ == LogLevel::off || !on_terminal()) return;
  overwrite(done < total ? concat(what, ": ", done, " / ", total, " tokens") : "");
}

Progress::Progress(bool shown) : shown_(shown && on_terminal()) {}

void Progress::update(const std::string& unit, std::int64_t done, std::int64_t total) {
  if (!shown_) return;
  const auto now = Clock::now();
  if (unit != unit_) {
    if (!unit_.empty()) start_ = now;
    unit_ = unit;
  }
  if (done >= total) return wipe();
  if (now - last_ < std::chrono::milliseconds(200)) return;
  last_ = now;
  const double rest = std::chrono::duration<double>(now - start_).count() /
                      static_cast<double>(std::max<std::int64_t>(done, 1)) *
                      static_cast<double>(total - done);
  const auto seconds = static_cast<std::int64_t>(rest);
  overwrite(concat(done, " / ", total, " ", unit, ", ", seconds / 60, " min ", seconds % 60, " s left"));
  written_ = true;
}

void Progress::wipe() {
  if (std::exchange(written_, false)) overwrite("");
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string human_bytes(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return concat(bytes, " bytes");
  auto value = static_cast<double>(bytes);
  int unit = 0;
  while (value >= 1024 && unit < 4) {
    value /= 1024;
    ++unit;
  }
  return concat(fixed(value, 2), " ", kUnits[unit]);
}

std::string left(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string right(const std::string& text, std::size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

}  // namespace spectralkv
