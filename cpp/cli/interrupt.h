// Ctrl-C as a flag that long work asks for.
#pragma once

#include <csignal>

namespace spectralkv {

// While one lives, the first SIGINT sets a flag and a second one, before the flag was cleared, kills the
// process as it would have without us. SIGPIPE is ignored, so that a closed pipe shows as a failed write.
// Both are put back at the end (the command line also runs inside Python). One at a time.
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  static bool interrupted();
  static void clear();

  // Waits until a read from `file` would not wait; false when Ctrl-C came first, or before.
  static bool wait_readable(int file);

 private:
  struct sigaction old_int_ {};
  struct sigaction old_pipe_ {};
};

}  // namespace spectralkv
