// A fixed pool of threads with static splits: part p of a loop is the same work whatever the number of
// threads.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>

namespace spectralkv {

class ThreadPool {
 public:
  // n_threads >= 1, the calling thread included; 0: as many as default_threads() says.
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return n_threads_; }

  // Calls work(thread) once for each thread in [0, size()) and waits for all; the first exception comes back
  // out. Not reentrant: work must not call the pool again. In a forked child the pool starts its threads
  // anew.
  void run(const std::function<void(int thread)>& work);

  // Calls work(begin, end, thread) over a split of [0, n) into one contiguous range a thread.
  void for_range(std::int64_t n,
                 const std::function<void(std::int64_t begin, std::int64_t end, int thread)>& work);

  // Calls work(i, thread) for each i in [0, n); threads take the next i as they come free (uneven items).
  void for_each(std::int64_t n, const std::function<void(std::int64_t i, int thread)>& work);

 private:
  struct Shared;
  void start();
  bool forked() const;

  int n_threads_;
  pid_t process_ = 0;  // that has the threads
  std::unique_ptr<Shared> shared_;
};

}  // namespace spectralkv
