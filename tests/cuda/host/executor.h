// Runs CUDA kernels on the CPU: the blocks of a launch one after the other, the threads of a block as fibers
// that change places where they wait for each other. A kernel whose threads do not meet where they must is an
// error that says where they stand.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};

namespace spectralkv::host {

// Where a kernel waits.
struct Site {
  const char* file;
  int line;
  bool operator==(const Site& other) const {
    return line == other.line && (file == other.file || std::strcmp(file, other.file) == 0);
  }
};

enum class Meeting { none, block, warp, shuffle, vote, matrices, mma };

constexpr std::size_t kWordBytes = 64;
struct alignas(8) Word {  // what a lane brings to a meeting, or takes home
  std::byte bytes[kWordBytes];
};
struct WarpWords {
  Word of[32];
};

// Runs body once a thread. shared: bytes of dynamic shared memory. Threads and warps take turns in rising
// order in even blocks and in falling order in odd ones: what depends on the order without waiting shows.
// Throws std::runtime_error.
void run(const char* name, dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body);

// Of the thread that runs.
const dim3& thread_index();
const dim3& block_index();
const dim3& block_size();
const dim3& grid_size();
unsigned lane_index();
std::byte* dynamic_shared();

// Waits for all threads of the block; all must come to the same place.
void meet_block(Site site);
// Waits for the lanes of `mask`, which all must name it at the same place, this lane too. What each brings is
// then seen by all; `combine`, if any, works on it once before.
using Combine = void (*)(WarpWords& words, unsigned mask);
const WarpWords& meet_warp(unsigned mask, Meeting kind, const void* brings, std::size_t bytes,
                           Combine combine, Site site);

// Ends the launch: what the thread that runs does, a device does not.
[[noreturn]] void fault(const char* what, Site site);

// Copies that a thread begins and waits for later (PTX: cp.async). What they write is poison until then, and
// what they read may not change: it is read when they are waited for. No thread may end before that.
void begin_copy(void* to, const void* from, std::size_t bytes, std::size_t zeros);
void end_copy_group();
void wait_for_copy_groups(std::size_t left);

}  // namespace spectralkv::host
