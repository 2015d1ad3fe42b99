// attend_halves for head dims 64 and 80.
#include "cuda/kv/attend_halves_launch.cuh"

namespace spectralkv::device_kv {

template void launch_halves<64>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);
template void launch_halves<80>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);

}  // namespace spectralkv::device_kv
