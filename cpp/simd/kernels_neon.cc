// The kernels for neon.
#if defined(__aarch64__)
#include "simd/lanes_neon.h"
#include "simd/panel_neon.h"
#include "simd/tiles_neon.h"
#include "simd/trellis_neon.h"
#include "simd/vec_neon.h"

#define SKV_NAME "neon"
#define SKV_KERNELS kernels_neon
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_neon() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
