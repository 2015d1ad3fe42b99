// What is said when there is no memory.
#include "base/buffer.h"

#include "base/error.h"

namespace spectralkv {

void refuse_buffer(std::size_t n_values, std::size_t value_bytes) {
  check(n_values <= (static_cast<std::size_t>(-1) >> 1) / value_bytes, "base", "buffer of ", n_values,
        " values is absurd");
  fail(ErrorKind::memory, "base", "cannot allocate ", n_values * value_bytes, " bytes");
}

}  // namespace spectralkv
