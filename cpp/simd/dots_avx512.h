// Sums of four byte products a lane.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace {

// acc += the products of unsigned and signed bytes, four a lane. By hand, for with the intrinsic GCC 12
// copies every sum of a loop twice a step; and it leaves arrays of sums in memory unless their loops are
// unrolled early, by #pragma GCC unroll.
inline void add_dots(__m512i& acc, __m512i unsigned_bytes, __m512i signed_bytes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "v"(signed_bytes));
}
// The same with four signed bytes for every lane.
inline void add_dots_of_four(__m512i& acc, __m512i unsigned_bytes, const int8_t* four) {
  struct Word {
    int8_t bytes[4];
  };
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(acc) : "v"(unsigned_bytes), "m"(*(const Word*)four));
}

}  // namespace
