// The pool: workers wait for a generation number; a wait spins briefly, then sleeps, so a busy machine is no
// trap.
#include "base/threads.h"

#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/processors.h"

namespace spectralkv {
namespace {

// About 20 us of spinning: longer than the gaps inside one forward pass, shorter than a time slice.
constexpr int kSpins = 4000;

inline void pause_cpu() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // takes about as long as x86's; yield takes none on most processors
#endif
}

// Waits until ready() is true: spins first, then sleeps on the condition.
template <class Ready>
void spin_then_sleep(std::mutex& mutex, std::condition_variable& condition, const Ready& ready) {
  for (int i = 0; i < kSpins; ++i) {
    if (ready()) return;
    pause_cpu();
  }
  std::unique_lock lock(mutex);
  condition.wait(lock, ready);
}

}  // namespace

struct ThreadPool::Shared {
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable start, done;
  std::atomic<std::uint64_t> generation{0};
  std::atomic<int> pending{0};
  bool stop = false;
  const std::function<void(int)>* work = nullptr;
  std::exception_ptr error;

  void call(int thread) {
    try {
      (*work)(thread);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!error) error = std::current_exception();
    }
  }

  void loop(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      spin_then_sleep(mutex, start, [&] { return generation.load(std::memory_order_acquire) != seen; });
      seen = generation.load(std::memory_order_acquire);
      if (stop) return;
      call(thread);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        const std::lock_guard lock(mutex);  // so that a waiter between its test and its sleep is not missed
        done.notify_one();
      }
    }
  }

  void release(int n_workers) {
    const std::lock_guard lock(mutex);
    pending.store(n_workers, std::memory_order_relaxed);
    generation.fetch_add(1, std::memory_order_release);
    start.notify_all();
  }
};

ThreadPool::ThreadPool(int n_threads) : n_threads_(n_threads == 0 ? default_threads() : n_threads) {
  check(n_threads_ >= 1 && n_threads_ <= 1024, "base", "n_threads must be 1 to 1024 (0: one a core), got ",
        n_threads);
  start();
}

void ThreadPool::start() {
  process_ = ::getpid();
  shared_ = std::make_unique<Shared>();
  for (int t = 1; t < n_threads_; ++t)
    shared_->workers.emplace_back([shared = shared_.get(), t] { shared->loop(t); });
}

// A forked child has none of the workers, and locks and threads that can be neither used nor destroyed.
bool ThreadPool::forked() const {
  return n_threads_ > 1 && process_ != ::getpid();
}

ThreadPool::~ThreadPool() {
  if (forked()) {
    static_cast<void>(shared_.release());
    return;
  }
  shared_->stop = true;
  shared_->release(0);
  for (auto& worker : shared_->workers) worker.join();
}

void ThreadPool::run(const std::function<void(int)>& work) {
  if (forked()) {
    static_cast<void>(shared_.release());
    start();
  }
  Shared& s = *shared_;
  s.work = &work;
  s.error = nullptr;
  if (n_threads_ > 1) s.release(n_threads_ - 1);
  s.call(0);
  if (n_threads_ > 1)
    spin_then_sleep(s.mutex, s.done, [&] { return s.pending.load(std::memory_order_acquire) == 0; });
  if (s.error) std::rethrow_exception(s.error);
}

void ThreadPool::for_range(std::int64_t n, const std::function<void(std::int64_t, std::int64_t, int)>& work) {
  run([&](int t) {
    const std::int64_t begin = n * t / n_threads_, end = n * (t + 1) / n_threads_;
    if (begin < end) work(begin, end, t);
  });
}

void ThreadPool::for_each(std::int64_t n, const std::function<void(std::int64_t, int)>& work) {
  std::atomic<std::int64_t> next{0};
  run([&](int t) {
    for (std::int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) work(i, t);
  });
}

}  // namespace spectralkv
