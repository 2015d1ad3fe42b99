// The kernels for avxvnni: AVX2's, with vpdpbusd on 256 bits for products of bytes. Compiled for AVX-512
// VNNI they run where no processor has AVX-VNNI (tests/checks/avxvnni.sh).
#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__) && \
    (defined(__AVXVNNI__) || (defined(__AVX512VNNI__) && defined(__AVX512VL__)))
#define SKV_BYTE_DOTS
#include "simd/lanes_avx2.h"
#include "simd/panel_avx2.h"
#include "simd/tiles_avx2.h"
#include "simd/trellis_avx2.h"
#include "simd/vec_avx2.h"

#define SKV_NAME "avxvnni"
#define SKV_KERNELS kernels_avxvnni
#include "simd/kernels.inl"
#else
#include "simd/kernels.h"

namespace spectralkv::simd {
const Kernels* kernels_avxvnni() {
  return nullptr;
}
}  // namespace spectralkv::simd
#endif
