// Fibers: stacks that take turns within one thread of the system.
#pragma once

#include <cstddef>

namespace spectralkv::host {

// What runs on a stack that is not running now.
struct Fiber {
  void* stack_pointer = nullptr;  // its registers are on its stack
  void* stack = nullptr;          // lowest address; null: the thread's own stack
  std::size_t size = 0;
  void* fake_stack = nullptr;  // the address sanitizer's
};

constexpr std::size_t kStackBytes = 256 * 1024;

// A stack with a guard page below. It is kept until the program ends: see `Fiber::stack`.
void make_stack(Fiber& fiber);
// Lets entry(argument) begin at the next switch to it. It must never return: it ends with last = true.
void prepare(Fiber& fiber, void (*entry)());
// Leaves `from`, which runs, for `to`. last: `from` will not run again.
void switch_fiber(Fiber& from, Fiber& to, bool last);
// The first thing that a fiber does.
void fiber_arrived();

}  // namespace spectralkv::host
