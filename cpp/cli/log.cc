// Lines on stderr and the numbers in them.
#include "cli/log.h"

#include <unistd.h>

#include <cstdio>

namespace spectralkv {

void Log::line(const std::string& text) {
  std::fputs((text + "\n").c_str(), stderr);
}

void Log::progress(const char* what, std::int64_t done, std::int64_t total) const {
  if (level_ == LogLevel::off || isatty(STDERR_FILENO) == 0) return;
  constexpr const char* kWipe = "\r\033[K";
  const std::string text = done < total ? concat(what, ": ", done, " / ", total, " tokens") : "";
  std::fputs((kWipe + text).c_str(), stderr);
  std::fflush(stderr);
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

}  // namespace spectralkv
