// CUDA's words for kernels, for g++: the twins of CUDA C++ and of cuda/device/instructions.cuh.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "tests/cuda/host/executor.h"
#include "tests/cuda/host/views.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __shared__ static  // blocks run one after the other
#define __forceinline__ inline
#define __noinline__
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

#define threadIdx (::spectralkv::host::thread_index())
#define blockIdx (::spectralkv::host::block_index())
#define blockDim (::spectralkv::host::block_size())
#define gridDim (::spectralkv::host::grid_size())
#define warpSize 32

#define SKV_HERE             \
  ::spectralkv::host::Site { \
    file, line               \
  }
#define SKV_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
inline float2 make_float2(float x, float y) {
  return {x, y};
}
inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}
inline uint2 make_uint2(unsigned x, unsigned y) {
  return {x, y};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}

inline void __syncthreads(SKV_SITE) {
  spectralkv::host::meet_block(SKV_HERE);
}
inline void __syncwarp(unsigned mask = 0xffffffffu, SKV_SITE) {
  spectralkv::host::meet_warp(mask, spectralkv::host::Meeting::warp, nullptr, 0, nullptr, SKV_HERE);
}
inline void __threadfence() {
  spectralkv::host::fence_view();
}
inline void __threadfence_block() {}

namespace spectralkv::host {

template <class T>
T word_as(const Word& word) {
  T value;
  std::memcpy(&value, word.bytes, sizeof(T));
  return value;
}

// Each lane takes what `source` (a lane of its own part of `width` lanes) brings; its own beyond the part.
template <class T>
T shuffle(unsigned mask, T value, int source, bool inside, Site site) {
  static_assert(sizeof(T) <= 8);
  const unsigned lane = lane_index();
  const WarpWords& words = meet_warp(mask, Meeting::shuffle, &value, sizeof(T), nullptr, site);
  const unsigned from = inside ? static_cast<unsigned>(source) : lane;
  T result = word_as<T>(words.of[from]);
  if (!(mask >> from & 1)) std::memset(&result, 0xff, sizeof result);  // undefined on the device
  return result;
}

inline unsigned ballot(unsigned mask, bool predicate, Site site) {
  const unsigned bit = predicate ? 1u : 0u;
  const WarpWords& words = meet_warp(mask, Meeting::vote, &bit, sizeof bit, nullptr, site);
  unsigned result = 0;
  for (unsigned i = 0; i < 32; ++i)
    if (mask >> i & 1) result |= word_as<unsigned>(words.of[i]) << i;
  return result;
}

}  // namespace spectralkv::host

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SKV_SITE) {
  const int lane = static_cast<int>(spectralkv::host::lane_index()), base = lane / width * width;
  return spectralkv::host::shuffle(mask, value, base + (source % width + width) % width, true, SKV_HERE);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SKV_SITE) {
  const int lane = static_cast<int>(spectralkv::host::lane_index()), from = lane ^ bits;
  return spectralkv::host::shuffle(mask, value, from, from / width <= lane / width && from < 32, SKV_HERE);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, SKV_SITE) {
  const int lane = static_cast<int>(spectralkv::host::lane_index()), from = lane + static_cast<int>(delta);
  return spectralkv::host::shuffle(mask, value, from, from / width == lane / width, SKV_HERE);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, SKV_SITE) {
  const int lane = static_cast<int>(spectralkv::host::lane_index()), from = lane - static_cast<int>(delta);
  return spectralkv::host::shuffle(mask, value, from, from >= lane / width * width, SKV_HERE);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, SKV_SITE) {
  return spectralkv::host::ballot(mask, predicate != 0, SKV_HERE);
}
inline int __any_sync(unsigned mask, int predicate, SKV_SITE) {
  return spectralkv::host::ballot(mask, predicate != 0, SKV_HERE) != 0;
}
inline int __all_sync(unsigned mask, int predicate, SKV_SITE) {
  return spectralkv::host::ballot(mask, predicate != 0, SKV_HERE) == mask;
}

namespace spectralkv::host {

// One thread runs at a time: nothing can come between. made(old): the new value, of which the place is told.
template <class T, class Made>
T update(T* at, const Made& made) {
  begin_atomic(at, sizeof(T));
  const T old = *at;
  *at = static_cast<T>(made(old));
  end_atomic(at, sizeof(T));
  return old;
}

}  // namespace spectralkv::host

template <class T>
T atomicAdd(T* at, T value) {
  return spectralkv::host::update(at, [&](T old) { return old + value; });
}
template <class T>
T atomicMax(T* at, T value) {
  return spectralkv::host::update(at, [&](T old) { return value > old ? value : old; });
}
template <class T>
T atomicMin(T* at, T value) {
  return spectralkv::host::update(at, [&](T old) { return value < old ? value : old; });
}
template <class T>
T atomicOr(T* at, T value) {
  return spectralkv::host::update(at, [&](T old) { return old | value; });
}
template <class T>
T atomicExch(T* at, T value) {
  return spectralkv::host::update(at, [&](T) { return value; });
}
template <class T>
T atomicCAS(T* at, T expected, T value) {
  return spectralkv::host::update(at, [&](T old) { return old == expected ? value : old; });
}

template <class T>
T __ldg(const T* at) {
  return *at;
}
inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x));
}
inline float __int_as_float(int x) {
  return skv_bits_to_f32(static_cast<std::uint32_t>(x));
}
inline float __uint_as_float(unsigned x) {
  return skv_bits_to_f32(x);
}
inline int __float_as_int(float x) {
  return static_cast<int>(skv_f32_to_bits(x));
}
inline unsigned __float_as_uint(float x) {
  return skv_f32_to_bits(x);
}
// Beyond an int the nearest one; 0 for NaN (PTX: cvt).
inline int __float2int_rn(float x) {
  if (std::isnan(x)) return 0;
  if (x >= 2147483648.0f) return INT32_MAX;
  if (x <= -2147483648.0f) return INT32_MIN;
  return static_cast<int>(std::nearbyint(x));
}
inline float __expf(float x) {
  return std::exp(x);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; ++i)
    c += static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
  return c;
}
// Byte i of the result is byte (selector nibble i, its lower three bits) of y:x: CUDA's header masks the
// fourth bits before the instruction sees them.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t all = static_cast<std::uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i)
    result |= (static_cast<unsigned>(all >> 8 * (selector >> 4 * i & 7u)) & 255u) << 8 * i;
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) << (shift & 31u) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31u));
}

namespace spectralkv::device {

inline float f16_to_f32(std::uint16_t bits) {
  return skv_f16_to_f32(bits);
}
inline std::uint16_t f32_to_f16(float value) {
  return skv_f32_to_f16(value);
}
inline float bf16_to_f32(std::uint16_t bits) {
  return skv_bf16_to_f32(bits);
}
inline std::uint16_t f32_to_bf16(float value) {
  return skv_f32_to_bf16(value);
}
inline float2 f16x2_to_f32x2(std::uint32_t pair) {
  return {skv_f16_to_f32(static_cast<std::uint16_t>(pair)),
          skv_f16_to_f32(static_cast<std::uint16_t>(pair >> 16))};
}
inline std::uint32_t f32x2_to_f16x2(float low, float high) {
  return skv_f32_to_f16(low) | static_cast<std::uint32_t>(skv_f32_to_f16(high)) << 16;
}
inline float fast_exp2(float x) {
  const float y = std::exp2(x);
  return y < 1.17549435e-38f ? 0.0f : y;
}
inline float fast_exp(float x) {
  return std::exp(x);
}
inline std::uint32_t permute_bytes(std::uint32_t x, std::uint32_t y, std::uint32_t selector) {
  std::uint32_t result = __byte_perm(x, y, selector);
  for (int i = 0; i < 4; ++i)
    if (selector >> 4 * i & 8u) {
      const std::uint32_t byte = 255u << 8 * i, sign = result & 128u << 8 * i;
      result = (result & ~byte) | (sign != 0 ? byte : 0u);
    }
  return result;
}
inline int not_before(int x) {
  return x;
}
void note_wait();  // runtime_host.cc
inline void wait_for_earlier() {
  note_wait();
}
inline void let_next_start() {}
template <int kBytes>
void copy_async(void* shared, const void* global, SKV_SITE) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  if (reinterpret_cast<std::uintptr_t>(shared) % kBytes != 0 ||
      reinterpret_cast<std::uintptr_t>(global) % kBytes != 0)
    host::fault("a copy whose places are no multiples of its bytes", SKV_HERE);
  host::begin_copy(shared, global, kBytes, 0);
}
inline void fetch_ahead(const void*) {}
template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(host::dynamic_shared());
}

namespace detail {

// What a lane brings to a product, and in `c` what it takes home.
template <class C>
struct Fragments {
  C c[4];
  std::uint32_t a[4], b[2];
};

template <class C, class In, int kDepth, In (*element)(std::uint32_t word, int index)>
void multiply(host::WarpWords& words, unsigned) {
  constexpr int kPacked = kDepth / 8;  // values a register
  In a[16][kDepth], b[kDepth][8];
  Fragments<C> lanes[32];
  for (int l = 0; l < 32; ++l) {
    lanes[l] = host::word_as<Fragments<C>>(words.of[l]);
    const int g = l / 4, t = l % 4;
    for (int r = 0; r < 4; ++r)
      for (int i = 0; i < kPacked; ++i)
        a[g + 8 * (r % 2)][kPacked * t + i + kDepth / 2 * (r / 2)] = element(lanes[l].a[r], i);
    for (int r = 0; r < 2; ++r)
      for (int i = 0; i < kPacked; ++i) b[kPacked * t + i + kDepth / 2 * r][g] = element(lanes[l].b[r], i);
  }
  for (int l = 0; l < 32; ++l) {
    for (int i = 0; i < 4; ++i) {
      const int row = l / 4 + 8 * (i / 2), column = 2 * (l % 4) + i % 2;
      C sum = lanes[l].c[i];
      for (int k = 0; k < kDepth; ++k) sum += static_cast<C>(a[row][k]) * static_cast<C>(b[k][column]);
      lanes[l].c[i] = sum;
    }
    std::memcpy(words.of[l].bytes, &lanes[l], sizeof lanes[l]);
  }
}

template <class C>
void run_mma(C (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], host::Combine combine,
             host::Site site) {
  Fragments<C> mine;
  std::memcpy(mine.c, c, sizeof mine.c);
  std::memcpy(mine.a, a, sizeof mine.a);
  std::memcpy(mine.b, b, sizeof mine.b);
  const host::WarpWords& words =
      host::meet_warp(0xffffffffu, host::Meeting::mma, &mine, sizeof mine, combine, site);
  const auto result = host::word_as<Fragments<C>>(words.of[host::lane_index()]);
  std::memcpy(c, result.c, sizeof result.c);
}

inline float f16_element(std::uint32_t word, int i) {
  return skv_f16_to_f32(static_cast<std::uint16_t>(word >> 16 * i));
}
inline int s8_element(std::uint32_t word, int i) {
  return static_cast<std::int8_t>(word >> 8 * i);
}

}  // namespace detail

inline void copy16_async(void* shared, const void* global, int bytes, SKV_SITE) {
  if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    host::fault("a copy of 16 bytes whose places are no multiples of 16", SKV_HERE);
  if (bytes < 0 || bytes > 16) host::fault("a copy of more than 16 bytes", SKV_HERE);
  host::begin_copy(shared, global, static_cast<std::size_t>(bytes), static_cast<std::size_t>(16 - bytes));
}
inline void commit_copies() {
  host::end_copy_group();
}
template <int left>
void wait_for_copies() {
  host::wait_for_copy_groups(left);
}

namespace detail {

// Each lane has brought the address of its row; it takes home four pairs.
template <bool turned>
void load_matrices(host::WarpWords& words, unsigned) {
  std::uint16_t all[4][8][8];
  for (unsigned l = 0; l < 32; ++l)
    std::memcpy(all[l / 8][l % 8], host::word_as<const void*>(words.of[l]), 16);
  for (unsigned l = 0; l < 32; ++l) {
    std::uint32_t out[4];
    const unsigned g = l / 4, t = l % 4;
    for (int i = 0; i < 4; ++i)
      out[i] = turned ? all[i][2 * t][g] | static_cast<std::uint32_t>(all[i][2 * t + 1][g]) << 16
                      : all[i][g][2 * t] | static_cast<std::uint32_t>(all[i][g][2 * t + 1]) << 16;
    std::memcpy(words.of[l].bytes, out, sizeof out);
  }
}

inline void meet_for_matrices(std::uint32_t (&out)[4], const void* row, host::Combine combine,
                              host::Site site) {
  if (reinterpret_cast<std::uintptr_t>(row) % 16 != 0)
    host::fault("a row of a matrix at no multiple of 16", site);
  const host::WarpWords& words =
      host::meet_warp(0xffffffffu, host::Meeting::matrices, &row, sizeof row, combine, site);
  std::memcpy(out, words.of[host::lane_index()].bytes, sizeof out);
}

}  // namespace detail

inline void load_matrices(std::uint32_t (&out)[4], const void* row, SKV_SITE) {
  detail::meet_for_matrices(out, row, detail::load_matrices<false>, SKV_HERE);
}
inline void load_matrices_turned(std::uint32_t (&out)[4], const void* row, SKV_SITE) {
  detail::meet_for_matrices(out, row, detail::load_matrices<true>, SKV_HERE);
}

inline void mma_f16(float (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], SKV_SITE) {
  detail::run_mma<float>(c, a, b, detail::multiply<float, float, 16, detail::f16_element>, SKV_HERE);
}
inline void mma_s8(int (&c)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2], SKV_SITE) {
  detail::run_mma<int>(c, a, b, detail::multiply<int, int, 32, detail::s8_element>, SKV_HERE);
}
inline void mma_s8_half(int (&c)[4], const std::uint32_t (&a)[2], std::uint32_t b, SKV_SITE) {
  const std::uint32_t four[4] = {a[0], a[1], 0, 0}, two[2] = {b, 0};
  detail::run_mma<int>(c, four, two, detail::multiply<int, int, 32, detail::s8_element>, SKV_HERE);
}
}  // namespace spectralkv::device
