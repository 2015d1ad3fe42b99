// attend_tiles for head dims 96 and 112.
#include "cuda/kv/attend_tiles_launch.cuh"

namespace spectralkv::device_kv {

template bool launch_tiles<96>(const AttendArgs&, int, device::Stream);
template bool launch_tiles<112>(const AttendArgs&, int, device::Stream);

}  // namespace spectralkv::device_kv
