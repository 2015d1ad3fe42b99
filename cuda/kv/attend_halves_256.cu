// attend_halves for head dim 256.
#include "cuda/kv/attend_halves_launch.cuh"

namespace spectralkv::device_kv {

template void launch_halves<256>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);

}  // namespace spectralkv::device_kv
