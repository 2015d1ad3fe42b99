// What the commands say on stderr, apart from the text on stdout: lines, and how far the work is. The numbers
// in both.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "base/error.h"

namespace spectralkv {

enum class LogLevel { off, info, detail };

class Log {
 public:
  explicit Log(LogLevel level) : level_(level) {}

  bool shows(LogLevel level) const { return level_ >= level; }
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

// A line that says how far long work is and how long it will take; only where stderr is a terminal.
class Progress {
 public:
  explicit Progress(bool shown);
  ~Progress() { wipe(); }
  Progress(const Progress&) = delete;

  // "1024 / 4096 tokens, 0 min 12 s left", five times a second at most. Another unit starts another count.
  // done == total wipes the line.
  void update(const std::string& unit, std::int64_t done, std::int64_t total);
  // Before other output.
  void wipe();

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_, written_ = false;
  std::string unit_;
  Clock::time_point start_ = Clock::now(), last_{};
};

// A number with so many digits after the point.
std::string fixed(double value, int digits);
// "11.25 MiB", "98.4 KiB": bytes with a binary unit.
std::string human_bytes(std::int64_t bytes);
// A text that fills at least so many columns, to the left or to the right of the spaces.
std::string left(std::string text, std::size_t width);
std::string right(const std::string& text, std::size_t width);

}  // namespace spectralkv
