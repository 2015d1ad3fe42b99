// The switch behind fiber.h, in assembly for x86-64 and by ucontext elsewhere.
#include "tests/cuda/host/fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <stdexcept>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define SKV_HOST_ASAN 1
#else
#define SKV_HOST_ASAN 0
#endif
#if !defined(__x86_64__)
#include <ucontext.h>

#include <memory>
#endif

namespace spectralkv::host {
namespace {

[[maybe_unused]] thread_local Fiber* left = nullptr;  // that the last switch came from
[[maybe_unused]] thread_local void* arriving_fake_stack = nullptr;

// What ran on the stack before may not have come to its end.
void clean([[maybe_unused]] Fiber& fiber) {
#if SKV_HOST_ASAN
  __asan_unpoison_memory_region(fiber.stack, fiber.size);
#endif
}

}  // namespace

void make_stack(Fiber& fiber) {
  constexpr std::size_t kGuard = 4096;
  void* const memory = mmap(nullptr, kStackBytes + kGuard, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("host executor: no memory for a stack");
  mprotect(memory, kGuard, PROT_NONE);
  fiber.stack = static_cast<std::byte*>(memory) + kGuard;
  fiber.size = kStackBytes;
}

#if defined(__x86_64__)

extern "C" void spectralkv_switch_stack(void** from, void* to);
asm(R"(
.text
.type spectralkv_switch_stack, @function
spectralkv_switch_stack:
  push %rbp
  push %rbx
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, (%rdi)
  mov %rsi, %rsp
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbx
  pop %rbp
  ret
.size spectralkv_switch_stack, .-spectralkv_switch_stack
)");

void prepare(Fiber& fiber, void (*entry)()) {
  clean(fiber);
  auto top = reinterpret_cast<std::uintptr_t>(fiber.stack) + fiber.size;
  auto* slots = reinterpret_cast<void**>(top & ~std::uintptr_t{63});
  *--slots = nullptr;  // entry sees its stack as after a call: 8 beyond a multiple of 16
  *--slots = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--slots = nullptr;
  fiber.stack_pointer = slots;
}

static void raw_switch(Fiber& from, Fiber& to) {
  spectralkv_switch_stack(&from.stack_pointer, to.stack_pointer);
}

#else

void prepare(Fiber& fiber, void (*entry)()) {
  clean(fiber);
  auto* const context = fiber.stack_pointer ? static_cast<ucontext_t*>(fiber.stack_pointer) : new ucontext_t;
  getcontext(context);
  context->uc_stack.ss_sp = fiber.stack;
  context->uc_stack.ss_size = fiber.size;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  fiber.stack_pointer = context;
}

static void raw_switch(Fiber& from, Fiber& to) {
  if (!from.stack_pointer) from.stack_pointer = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from.stack_pointer), static_cast<ucontext_t*>(to.stack_pointer));
}

#endif

void switch_fiber(Fiber& from, Fiber& to, bool last) {
#if SKV_HOST_ASAN
  left = &from;
  __sanitizer_start_switch_fiber(last ? nullptr : &from.fake_stack, to.stack, to.size);
  raw_switch(from, to);
  __sanitizer_finish_switch_fiber(from.fake_stack, const_cast<const void**>(&left->stack), &left->size);
#else
  static_cast<void>(last);
  raw_switch(from, to);
#endif
}

void fiber_arrived() {
#if SKV_HOST_ASAN
  __sanitizer_finish_switch_fiber(nullptr, const_cast<const void**>(&left->stack), &left->size);
#endif
}

}  // namespace spectralkv::host
