// The kernels for avx2.
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include "simd/lanes_avx2.h"
#include "simd/panel_avx2.h"
#include "simd/tiles_avx2.h"
#include "simd/trellis_avx2.h"
#include "simd/vec_avx2.h"

#define SKV_NAME "avx2"
#define SKV_KERNELS kernels_avx2
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_avx2() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
