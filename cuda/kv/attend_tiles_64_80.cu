// attend_tiles for head dims 64 and 80.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template bool launch_tiles<64>(const AttendArgs&, int, device::Stream);
template bool launch_tiles<80>(const AttendArgs&, int, device::Stream);

}  // namespace spectralkv::device_kv
