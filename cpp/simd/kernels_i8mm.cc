// The kernels for i8mm: NEON's, with the dot product of ARMv8.2 and the matrix product of bytes of ARMv8.6.
#if defined(__aarch64__) && defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_FEATURE_MATMUL_INT8)
#define SKV_BYTE_DOTS
#define SKV_BYTE_MATRICES
#include "simd/lanes_neon.h"
#include "simd/panel_i8mm.h"
#include "simd/tiles_neon.h"
#include "simd/trellis_neon.h"
#include "simd/vec_neon.h"

#define SKV_NAME "i8mm"
#define SKV_KERNELS kernels_i8mm
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_i8mm() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
