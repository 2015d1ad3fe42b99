// A signal handler can only reach a global: this flag is the one that the program has.
#include "cli/interrupt.h"

#include <atomic>

namespace spectralkv {
namespace {

std::atomic<bool> g_interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);  // what makes it safe in a signal handler

void on_interrupt(int signal) {
  if (!g_interrupted.exchange(true)) return;
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

InterruptGuard::InterruptGuard() {
  clear();
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART: a read from the terminal returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &old_int_);
  if (old_int_.sa_handler == SIG_IGN)
    sigaction(SIGINT, &old_int_, nullptr);  // a job in the background stays deaf
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  sigemptyset(&ignore.sa_mask);
  sigaction(SIGPIPE, &ignore, &old_pipe_);
}

InterruptGuard::~InterruptGuard() {
  sigaction(SIGINT, &old_int_, nullptr);
  sigaction(SIGPIPE, &old_pipe_, nullptr);
}

bool InterruptGuard::interrupted() {
  return g_interrupted.load();
}
void InterruptGuard::clear() {
  g_interrupted.store(false);
}

}  // namespace spectralkv
