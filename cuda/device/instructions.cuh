// Instructions of the device behind functions that have a twin on the host
// (tests/cuda/host/instructions.h).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <cstring>

namespace spectralkv::device {

__device__ __forceinline__ float f16_to_f32(std::uint16_t bits) {
  return __half2float(__ushort_as_half(bits));
}
__device__ __forceinline__ std::uint16_t f32_to_f16(float value) {  // nearest even
  return __half_as_ushort(__float2half_rn(value));
}
__device__ __forceinline__ float bf16_to_f32(std::uint16_t bits) {
  return __uint_as_float(static_cast<std::uint32_t>(bits) << 16);
}
__device__ __forceinline__ std::uint16_t f32_to_bf16(float value) {
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

namespace detail {
__device__ __forceinline__ __half2 as_half2(std::uint32_t bits) {
  __half2 value;
  memcpy(&value, &bits, 4);
  return value;
}
__device__ __forceinline__ std::uint32_t as_bits(__half2 value) {
  std::uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}
}  // namespace detail

// Pairs: the first in the low half.
__device__ __forceinline__ float2 f16x2_to_f32x2(std::uint32_t pair) {
  return __half22float2(detail::as_half2(pair));
}
__device__ __forceinline__ std::uint32_t f32x2_to_f16x2(float low, float high) {
  return detail::as_bits(__floats2half2_rn(low, high));
}

// exp(x) to a few roundings of its argument.
__device__ __forceinline__ float fast_exp(float x) {
  return __expf(x);
}

// 2^x, one instruction; what would be subnormal is 0.
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Byte i of the result is byte (selector nibble i, its lower three bits) of y:x; its sign, eight times, where
// the nibble's fourth bit is set. That bit is what __byte_perm leaves out.
__device__ __forceinline__ std::uint32_t permute_bytes(std::uint32_t x, std::uint32_t y,
                                                       std::uint32_t selector) {
  std::uint32_t result;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(result) : "r"(x), "r"(y), "r"(selector));
  return result;
}

// x, of which the compiler knows nothing before this point: what is computed from it is not moved to before.
__device__ __forceinline__ int not_before(int x) {
  asm volatile("" : "+r"(x));
  return x;
}

// 128 bytes of global memory that will be wanted, into the second-level cache.
__device__ __forceinline__ void fetch_ahead(const void* global) {
  asm volatile("prefetch.global.L2 [%0];" : : "l"(global));
}

// For kernels that are launched early (launch_early): all that earlier launches of the stream do is done, and
// seen. What stands before may only read what nobody writes while a model runs.
__device__ __forceinline__ void wait_for_earlier() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" : : : "memory");
#endif
}
// The next launch may start, if early, once all blocks have come here or ended; what it waits for is still
// the end of this one.
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" : : : "memory");
#endif
}

// kBytes, 4, 8 or 16, of global into shared memory, both at multiples of kBytes, as copy16_async does; 16
// leave the first cache alone.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* shared, const void* global) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  const auto to = static_cast<std::uint32_t>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(to), "l"(global) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;"
                 :
                 : "r"(to), "l"(global), "n"(kBytes)
                 : "memory");
}

// Dynamic shared memory of the block, aligned to 128 bytes.
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
  extern __shared__ __align__(128) unsigned char spectralkv_shared[];
  return reinterpret_cast<T*>(spectralkv_shared);
}

// 16 bytes of global into shared memory, both at multiples of 16, on their own; of them the first `bytes`,
// and zeros behind. There once this thread has waited, and for others once they have met it afterwards.
__device__ __forceinline__ void copy16_async(void* shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(shared))), "l"(global), "r"(bytes)
               : "memory");
}
// What this thread has begun since the last call is a group.
__device__ __forceinline__ void commit_copies() {
  asm volatile("cp.async.commit_group;" : : : "memory");
}
// Waits for this thread's groups but the newest `left`.
template <int left>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" : : "n"(left) : "memory");
}

// Four matrices [8, 8] of f16 from shared memory, all lanes together: lane 8 i + r names row r of matrix i,
// 16 bytes at a multiple of 16. Lane 4 g + t gets in out[i] the places 2 t and 2 t + 1 of row g; of column g
// where they come turned.
__device__ __forceinline__ void load_matrices(std::uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}
__device__ __forceinline__ void load_matrices_turned(std::uint32_t (&out)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
               : "r"(static_cast<std::uint32_t>(__cvta_generic_to_shared(row)))
               : "memory");
}

// c [16, 8] += a [16, 16] b [16, 8]: f16 pairs in, f32 out. Lane l = 4 g + t holds
//   a[0], a[1]: row g, g + 8, columns 2t and 2t + 1; a[2], a[3]: the same, columns + 8
//   b[0], b[1]: column g, rows 2t and 2t + 1, and + 8
//   c[0..3]:    row g, columns 2t and 2t + 1; row g + 8, the same
__device__ __forceinline__ void mma_f16(float (&c)[4], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// c [16, 8] += a [16, 32] b [32, 8], signed bytes in, 32 bits out. Columns 4t to 4t + 3 where mma_f16 has 2t
// and 2t + 1, and + 16 where it has + 8.
__device__ __forceinline__ void mma_s8(int (&c)[4], const std::uint32_t (&a)[4],
                                       const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The first half of that: a [16, 16], the lanes' a[0] and a[1], times b [16, 8], their b[0].
__device__ __forceinline__ void mma_s8_half(int (&c)[4], const std::uint32_t (&a)[2], std::uint32_t b) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(b));
}

}  // namespace spectralkv::device
