// A line on stderr that says how far the work is and how long it will take; only where stderr is a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace spectralkv {

class Progress {
 public:
  explicit Progress(bool shown);
  ~Progress() { wipe(); }
  Progress(const Progress&) = delete;

  // "1024 / 4096 tokens, 0 min 12 s left". Another unit starts another count. done == total wipes the line.
  void update(const std::string& unit, std::int64_t done, std::int64_t total);
  // Before other output.
  void wipe();

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_, written_ = false;
  std::string unit_;
  Clock::time_point start_ = Clock::now(), last_{};
};

}  // namespace spectralkv
