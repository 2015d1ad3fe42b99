// The body of attend_halves.h.
#pragma once

#include "cuda/kv/attend_halves.cuh"

namespace spectralkv::device_kv {

template <int D, bool few, bool groups>
void launch_halves_as(const AttendArgs& args, const HalvesPart& part, int items, device::Stream stream) {
  using Shape = HalvesShape<D, few>;
  const int rows = part.end_row - part.first_row;
  device::launch(attend_halves<D, few, groups>,
                 dim3(static_cast<unsigned>(items), static_cast<unsigned>(args.pairs()),
                      static_cast<unsigned>((rows + Shape::kRows - 1) / Shape::kRows)),
                 dim3(kThreads), static_cast<std::size_t>(Shape::shared_bytes(groups)), stream, args, part);
}

template <int D>
void launch_halves(const AttendArgs& args, const HalvesPart& part, bool few, int items,
                   device::Stream stream) {
  if (!few)
    launch_halves_as<D, false, false>(args, part, items, stream);
  else if (part.side[0].groups || part.side[1].groups)
    launch_halves_as<D, true, true>(args, part, items, stream);
  else
    launch_halves_as<D, true, false>(args, part, items, stream);
}

}  // namespace spectralkv::device_kv
