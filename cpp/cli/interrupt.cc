// A signal handler can only reach globals: this flag and this pipe are those that the program has.
#include "cli/interrupt.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>

namespace spectralkv {
namespace {

std::atomic<bool> g_interrupted{false};
// Wakes who waits in poll, on whichever thread the handler runs and however shortly before the wait it came.
std::array<std::atomic<int>, 2> g_pipe{-1, -1};
static_assert(std::atomic<bool>::is_always_lock_free);  // what makes it safe in a signal handler
static_assert(std::atomic<int>::is_always_lock_free);

void on_interrupt(int signal) {
  if (!g_interrupted.exchange(true)) {
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(g_pipe[1].load(), "", 1);
    errno = error;
    return;
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

// Without a pipe, which takes a process that is out of files, Ctrl-C still sets the flag.
void open_pipe() {
  int ends[2];
  if (::pipe(ends) != 0) return;
  for (std::size_t i = 0; i < 2; ++i) {
    // Not 0 to 2, should one of them be closed: they mean something to others.
    g_pipe[i].store(::fcntl(ends[i], F_DUPFD_CLOEXEC, 3));
    ::close(ends[i]);
    ::fcntl(g_pipe[i].load(), F_SETFL, O_NONBLOCK);
  }
}

void drain_pipe() {
  char bytes[16];
  while (::read(g_pipe[0].load(), bytes, sizeof bytes) > 0) {
  }
}

}  // namespace

InterruptGuard::InterruptGuard() {
  open_pipe();
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
  for (auto& end : g_pipe) ::close(end.exchange(-1));
}

bool InterruptGuard::interrupted() {
  return g_interrupted.load();
}
void InterruptGuard::clear() {
  g_interrupted.store(false);
  drain_pipe();
}

bool InterruptGuard::wait_readable(int file) {
  while (!interrupted()) {
    std::array<pollfd, 2> files{{{file, POLLIN, 0}, {g_pipe[0].load(), POLLIN, 0}}};
    if (::poll(files.data(), files.size(), -1) < 0 && errno != EINTR) return true;  // the read will say why
    if (files[0].revents != 0) return !interrupted();
    if (!interrupted()) drain_pipe();  // of a Ctrl-C that was cleared since
  }
  return false;
}

}  // namespace spectralkv
