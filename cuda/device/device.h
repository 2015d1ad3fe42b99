// What kernels and their callers may use: CUDA where nvcc compiles, a twin of it elsewhere, so that the same
// sources run in ordinary C++ tests (tests/cuda/host).
//
// Kernels are function templates in .cuh files, so that any number of sources may include them; one that has
// nothing to choose has a parameter all the same, kUnused, and is launched as kernel<0>. They are written in
// CUDA's own words (threadIdx, __syncthreads, __shfl_*_sync, atomics, ...). Dynamic shared memory comes from
// dynamic_shared<T>(). Instructions without a word in CUDA C++ have a function here: mma_*, f16 and bf16 as
// bits (no __half: its header is nvcc's). Hosts call them through launch(kernel, grid, block, shared bytes,
// stream, arguments...).
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/host_device.h"

#ifdef __CUDACC__
#define SKV_UNROLL _Pragma("unroll")
#define SKV_UNROLL_SOME _Pragma("unroll 4")
#define SKV_UNROLL_NOT _Pragma("unroll 1")
#define SKV_GRID_CONSTANT __grid_constant__
#include "cuda/device/instructions.cuh"
#include "cuda/device/runtime_cuda.h"
#else
#define SKV_UNROLL
#define SKV_UNROLL_SOME
#define SKV_UNROLL_NOT
#define SKV_GRID_CONSTANT
// Who compiles these sources for something else has a twin of the two headers above on the include path.
#include "device_twin.h"
#endif
