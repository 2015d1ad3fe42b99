// The log of the commands: lines on stderr, apart from the text on stdout.
#pragma once

#include <string>

#include "base/error.h"

namespace spectralkv {

enum class LogLevel { off, info, detail };

class Log {
 public:
  explicit Log(LogLevel level) : level_(level) {}

  template <class... Args>
  void info(const Args&... args) const {
    if (level_ >= LogLevel::info) line(concat(args...));
  }
  // Only with --verbose.
  template <class... Args>
  void detail(const Args&... args) const {
    if (level_ >= LogLevel::detail) line(concat(args...));
  }
  // A counter that overwrites itself, only where stderr is a terminal. done == total wipes it.
  void progress(const char* what, std::int64_t done, std::int64_t total) const;

 private:
  static void line(const std::string& text);
  LogLevel level_;
};

// A number with so many digits after the point.
std::string fixed(double value, int digits);
// "11.25 MiB", "98.4 KiB": bytes with a binary unit.
std::string human_bytes(std::int64_t bytes);

}  // namespace spectralkv
