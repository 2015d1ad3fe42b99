// The twin of cuda/device/runtime_cuda.h: device memory is host memory between guard zones, streams run at
// once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/cuda/host/executor.h"

namespace spectralkv::device {

struct HostStream;
using Stream = HostStream*;  // null: all run in order

inline constexpr std::size_t kPagesAtOnce = 1;  // between guard zones, each

void* allocate(std::size_t bytes);
void release(void* memory);  // throws when something was written beside the memory
// What host::run needs after each launch: the guard zones of all memory are whole.
void check_guards(const char* after);
std::size_t allocated_bytes();
void for_each_memory(const std::function<void(std::byte* at, std::size_t bytes)>& visit);
void* allocate_pinned(std::size_t bytes);
void release_pinned(void* memory);
// What was asked for since the program began.
struct Calls {
  std::int64_t launches = 0, allocations = 0, copies_to_device = 0, copies_to_host = 0;
  std::int64_t waits = 0;  // of the host
};
Calls calls();

void count_launch();
// Around a kernel that starts early: that it waits.
void expect_wait();
void check_wait();
// Runs `work` now, or with a graph that is being recorded.
void on_stream(std::function<void()> work);

void copy_to_device(void* device, const void* host, std::size_t bytes, Stream stream);
void copy_to_host(void* host, const void* device, std::size_t bytes, Stream stream);
void copy_on_device(void* to, const void* from, std::size_t bytes, Stream stream);
void fill_bytes(void* device, int value, std::size_t bytes, Stream stream);
void synchronize(Stream stream);

enum class Urgency { ordinary, urgent };
inline Stream make_stream(Urgency) {
  return nullptr;
}
inline void destroy_stream(Stream) {}

// Marks a point of a stream that another one can wait for.
class Event {
 public:
  // What was recorded elsewhere cannot be waited for in a graph, nor the other way round.
  void record(Stream);
  void make_wait(Stream);
  void synchronize();
};

class Graph {
 public:
  void record(Stream, const std::function<void()>& launches);
  void launch(Stream) const {
    for (const auto& work : work_) work();
  }

 private:
  std::vector<std::function<void()>> work_;
};

inline int multiprocessors() {
  return 2;
}

inline std::size_t shared_of_all_blocks = std::size_t{228} << 10;  // tests make it another device's
inline std::size_t shared_a_processor() {
  return shared_of_all_blocks;
}
inline constexpr std::size_t kSharedOfABlock = 1024;

template <class... Parameters>
int blocks_at_once(void (*)(Parameters...), int, std::size_t) {
  return 1;
}

template <class... Parameters, class... Args>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Stream,
            const Args&... args) {
  count_launch();
  on_stream([=] {
    host::run("launched here", grid, block, shared, [&] { kernel(static_cast<Parameters>(args)...); });
    check_guards("a kernel");
  });
}

// The same, of a kernel that waits for those before: at least one thread must.
template <class... Parameters, class... Args>
void launch_early(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared, Stream stream,
                  const Args&... args) {
  on_stream([] { expect_wait(); });
  launch(kernel, grid, block, shared, stream, args...);
  on_stream([] { check_wait(); });
}

}  // namespace spectralkv::device
