// The kernels for scalar.
#include "simd/lanes_scalar.h"
#include "simd/panel_scalar.h"
#include "simd/tiles_scalar.h"
#include "simd/trellis_scalar.h"
#include "simd/vec_scalar.h"

#define SKV_NAME "scalar"
#define SKV_KERNELS kernels_scalar
#include "simd/kernels.inl"
