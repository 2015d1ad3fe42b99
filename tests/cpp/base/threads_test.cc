// The pool covers every item once, carries exceptions out, and works again afterwards.
#include "base/threads.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <vector>

#include "base/error.h"

namespace spectralkv {
namespace {

TEST(Threads, EveryItemOnce) {
  for (int n_threads : {1, 2, 3, 7}) {
    ThreadPool pool(n_threads);
    for (int n : {0, 1, 2, 5, 64, 1000}) {
      std::vector<std::atomic<int>> ranged(static_cast<std::size_t>(n)), single(static_cast<std::size_t>(n));
      pool.for_range(n, [&](std::int64_t begin, std::int64_t end, int) {
        for (auto i = begin; i < end; ++i) ++ranged[static_cast<std::size_t>(i)];
      });
      pool.for_each(n, [&](std::int64_t i, int) { ++single[static_cast<std::size_t>(i)]; });
      for (auto& count : ranged) EXPECT_EQ(count, 1);
      for (auto& count : single) EXPECT_EQ(count, 1);
    }
  }
}

TEST(Threads, ExceptionsComeOut) {
  ThreadPool pool(3);
  for (int round = 0; round < 50; ++round) {
    const auto throws_at = [&](std::int64_t bad) {
      pool.for_each(20, [&](std::int64_t i, int) { check(i != bad, "test", "item ", i); });
    };
    EXPECT_THROW(throws_at(round % 20), Error);
    EXPECT_NO_THROW(throws_at(-1));
  }
}

// The child's threads are its own, the parent's go on.
TEST(Threads, WorksInAForkedChild) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "the thread sanitizer knows no threads of a child";
#endif
  const auto sums = [](ThreadPool& pool) {
    std::atomic<std::int64_t> sum = 0;
    pool.for_each(100, [&](std::int64_t i, int) { sum += i; });
    return sum == 4950;
  };
  auto pool = std::make_unique<ThreadPool>(3);
  EXPECT_TRUE(sums(*pool));
  for (const bool use : {true, false}) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(20);
      const bool right = !use || (sums(*pool) && sums(*pool));
      pool.reset();
      _exit(right ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(sums(*pool));
  }
}

TEST(Threads, RefusesAbsurdSizes) {
  EXPECT_THROW(ThreadPool(-1), Error);
  EXPECT_THROW(ThreadPool(100000), Error);
}

}  // namespace
}  // namespace spectralkv
