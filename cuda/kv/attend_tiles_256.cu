// attend_tiles for head dim 256.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template void launch_tiles<256>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<256>();

}  // namespace spectralkv::device_kv
