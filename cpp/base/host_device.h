// What arithmetic that is written once for the CPU and for CUDA kernels is marked with. No STL.
#pragma once

#ifdef __CUDACC__
#define SKV_HD __host__ __device__
#define SKV_ROLLED
#else
#define SKV_HD
#define SKV_ROLLED _Pragma("GCC unroll 1")  // before a loop that GCC is to vectorise, not to unroll first
#endif
