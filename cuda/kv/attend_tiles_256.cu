// attend_tiles for head dim 256.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template bool launch_tiles<256>(const AttendArgs&, int, device::Stream);

}  // namespace spectralkv::device_kv
