// attend_tiles for head dim 128.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template bool launch_tiles<128>(const AttendArgs&, int, device::Stream);

}  // namespace spectralkv::device_kv
