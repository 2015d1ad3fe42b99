// Marks functions that the host and a CUDA device both compile. No STL.
#pragma once

#ifndef SKV_HD
#ifdef __CUDACC__
#define SKV_HD __host__ __device__
#else
#define SKV_HD
#endif
#endif
