// The kernels for dotprod: NEON's, with the dot product of ARMv8.2.
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD)
#define SKV_BYTE_DOTS
#include "simd/lanes_neon.h"
#include "simd/panel_neon.h"
#include "simd/tiles_neon.h"
#include "simd/trellis_neon.h"
#include "simd/vec_neon.h"

#define SKV_NAME "dotprod"
#define SKV_KERNELS kernels_dotprod
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_dotprod() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
