// The kernels for avx512.
#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include "simd/lanes_avx512.h"
#include "simd/panel_avx512.h"
#include "simd/tiles_avx512.h"
#include "simd/trellis_avx512.h"
#include "simd/vec_avx512.h"

#define SKV_NAME "avx512"
#define SKV_KERNELS kernels_avx512
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_avx512() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
