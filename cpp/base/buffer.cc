// Large pages, and what is said when there is no memory.
#include "base/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <cstdint>

#include "base/error.h"

namespace spectralkv {

void advise_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(MADV_HUGEPAGE)
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(data) + page - 1) / page * page;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / page * page;
  if (begin < end)  // a kernel without them refuses, which changes nothing
    static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE));
#endif
}

void refuse_buffer(std::size_t n_values, std::size_t value_bytes) {
  check(n_values <= (static_cast<std::size_t>(-1) >> 1) / value_bytes, "base", "buffer of ", n_values,
        " values is absurd");
  fail(ErrorKind::memory, "base", "cannot allocate ", n_values * value_bytes, " bytes");
}

}  // namespace spectralkv
