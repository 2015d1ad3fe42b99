// attend_tiles for head dims 96 and 112.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template void launch_tiles<96>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<96>();
template void launch_tiles<112>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<112>();

}  // namespace spectralkv::device_kv
