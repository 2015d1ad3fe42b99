// attend_halves for head dims 96 and 112.
#include "cuda/kv/attend_halves_launch.cuh"

namespace spectralkv::device_kv {

template void launch_halves<96>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);
template void launch_halves<112>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);

}  // namespace spectralkv::device_kv
