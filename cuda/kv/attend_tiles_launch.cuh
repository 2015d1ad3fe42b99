// The body of attend_tiles.h.
#pragma once

#include "cuda/kv/attend_tiles.cuh"
#include "cuda/kv/attend_tiles.h"

namespace spectralkv::device_kv {

template <int D>
bool launch_tiles(const AttendArgs& args, int items, device::Stream stream) {
  device::launch(attend_tiles<D>,
                 dim3(static_cast<unsigned>(items), static_cast<unsigned>(args.pairs()),
                      static_cast<unsigned>((args.rows + kQueries - 1) / kQueries)),
                 dim3(kThreads), static_cast<std::size_t>(tiles_shared_words(D)) * 4, stream, args);
  return true;
}

}  // namespace spectralkv::device_kv
