// attend_tiles for head dims 64 and 80.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template void launch_tiles<64>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<64>();
template void launch_tiles<80>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<80>();

}  // namespace spectralkv::device_kv
