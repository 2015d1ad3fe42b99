// The line is overwritten in place, five times a second at most.
#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"

namespace spectralkv {
namespace {

constexpr const char* kWipe = "\r\033[K";

}  // namespace

Progress::Progress(bool shown) : shown_(shown && isatty(STDERR_FILENO) != 0) {}

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
  const double left = std::chrono::duration<double>(now - start_).count() /
                      static_cast<double>(std::max<std::int64_t>(done, 1)) *
                      static_cast<double>(total - done);
  const auto seconds = static_cast<std::int64_t>(left);
  std::fputs(
      concat(kWipe, done, " / ", total, " ", unit, ", ", seconds / 60, " min ", seconds % 60, " s left")
          .c_str(),
      stderr);
  std::fflush(stderr);
  written_ = true;
}

void Progress::wipe() {
  if (!written_) return;
  std::fputs(kWipe, stderr);
  std::fflush(stderr);
  written_ = false;
}

}  // namespace spectralkv
