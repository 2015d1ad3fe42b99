// The kernel of attend_tiles_launch.cuh, compiled a few head dims a file: each takes a while.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/attend.h"

namespace spectralkv::device_kv {

// Of layers of head dim D: 64, 80, 96, 112, 128 or 256 (has_halves).

// The sealed items of heads whose K and V are codes in tiles; with_exact: the items of exact tokens in f16
// too, of all heads. items: of the part that has the most.
template <int D>
void launch_tiles(const AttendArgs& args, bool with_exact, int items, device::Stream stream);

// Whether with_exact leaves room for as many blocks of threads on a multiprocessor: it asks for more shared
// memory.
template <int D>
bool tiles_take_exact();

}  // namespace spectralkv::device_kv
