// attend_halves for head dim 128.
#include "cuda/kv/attend_halves_launch.cuh"

namespace spectralkv::device_kv {

template void launch_halves<128>(const AttendArgs&, const HalvesPart&, bool, int, device::Stream);

}  // namespace spectralkv::device_kv
