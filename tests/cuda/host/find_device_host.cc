// The twin of cuda/device/find_device.cu: the host is always there.
#include "cuda/device/find_device.h"

namespace spectralkv::device {

std::string require_device() {
  return "host executor";
}

}  // namespace spectralkv::device
