// attend_tiles for head dim 128.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template void launch_tiles<128>(const AttendArgs&, bool, int, device::Stream);
template bool tiles_take_exact<128>();

}  // namespace spectralkv::device_kv
