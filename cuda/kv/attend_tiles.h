// The kernel of attend_tiles.cuh, compiled a few head dims a file: each takes a while.
#pragma once

#include "cuda/device/device.h"
#include "cuda/kv/attend.h"

namespace spectralkv::device_kv {

// The sealed items, `items` of the part that has the most, of layers whose K and V are codes of head dim D:
// 64, 80, 96, 112, 128 or 256. True.
template <int D>
bool launch_tiles(const AttendArgs& args, int items, device::Stream stream);

}  // namespace spectralkv::device_kv
