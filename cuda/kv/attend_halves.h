// The kernel of attend_halves.cuh, compiled a few head dims a file.
#pragma once

#include <cstdint>

#include "cuda/device/device.h"
#include "cuda/kv/attend.h"

namespace spectralkv::device_kv {

constexpr bool has_halves(std::int64_t d) {
  return d == 64 || d == 80 || d == 96 || d == 112 || d == 128 || d == 256;
}

// Rows that read the context together beyond those of `few`.
constexpr std::int64_t many_rows(std::int64_t d) {
  return d > 128 ? 64 : 128;
}

// Who reads what, beside AttendArgs.
struct HalvesPart {
  int first_row, end_row;  // of args.rows
  bool exact_alone;        // items are those of exact tokens; else these come behind the sealed ones
  bool resume;             // items have states, of blocks before `first_block`
  // Sealed blocks, of which a row sees what the layout says.
  int first_block, end_block;
  struct Side {
    const std::uint8_t* const* rows;  // [blocks from first_block on, heads]: where each starts, of `many`
    bool groups;                      // of q8_0; else f16
  } side[2];
};

// Rows [part.first_row, part.end_row), of layers of head dim D; items: of the part of args that has the most.
template <int D>
void launch_halves(const AttendArgs& args, const HalvesPart& part, bool few, int items,
                   device::Stream stream);

}  // namespace spectralkv::device_kv
