// The host executor against known answers, and its finding of faults.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "cuda/device/memory.h"

namespace spectralkv {
namespace {

using device::DeviceBuffer;
using device::launch;

template <class T>
std::vector<T> read(const DeviceBuffer<T>& buffer) {
  std::vector<T> values(buffer.size());
  buffer.read(values, nullptr);
  device::synchronize(nullptr);
  return values;
}

template <int>
__global__ void block_sum(const float* in, int n, float* out) {
  float* const part = device::dynamic_shared<float>();
  float sum = 0;
  for (unsigned i = threadIdx.x; i < static_cast<unsigned>(n); i += blockDim.x) sum += in[i];
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (unsigned w = 1; w < blockDim.x / 32; ++w) sum += part[w];
    out[blockIdx.x] = sum;
  }
}

TEST(HostExecutor, SumsThroughShufflesAndSharedMemory) {
  std::vector<float> x(1000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  DeviceBuffer<float> in(x.size()), out(3);
  in.write(x, nullptr);
  launch(block_sum<0>, dim3(3), dim3(128), 4 * sizeof(float), nullptr, in.data(), 1000, out.data());
  EXPECT_EQ(read(out), std::vector<float>(3, 499500.0f));
}

template <int kind>
__global__ void faulty(float* out) {
  float* const shared = device::dynamic_shared<float>();
  if (kind == 0 && threadIdx.x < 40) __syncthreads();  // not reached by all
  if (kind == 1) {
    if (threadIdx.x % 2 == 0)
      __shfl_sync(0xffffffffu, 1.0f, 0);  // half a warp
    else
      __syncwarp();
  }
  if (kind == 2 && threadIdx.x == 0) out[64] = 1;  // beside the memory
  if (kind == 3) {                                 // no barrier: the others see poison
    shared[threadIdx.x] = 1;
    out[threadIdx.x] = shared[(threadIdx.x + 1) % 64];
  }
  if (kind == 4) {
    __syncthreads();
    if (threadIdx.x > 5) __syncthreads();
  }
  if (kind > 4) {
    auto* const to = shared + 4 * (threadIdx.x % 16);
    device::copy16_async(to + (kind == 6 ? 1 : 0), out + 4 * (threadIdx.x % 16), 16);
    device::commit_copies();
    out[threadIdx.x] = to[0];  // too early
    if (kind != 5) device::wait_for_copies<0>();
  }
}

template <int kind>
std::string fault_of() {
  DeviceBuffer<float> out(64);
  try {
    launch(faulty<kind>, dim3(1), dim3(64), 64 * sizeof(float), nullptr, out.data());
  } catch (const std::runtime_error& error) {
    if (kind == 2) {  // heal the guard, so that the memory can go
      const float guard = __uint_as_float(0xa5a5a5a5u);
      std::memcpy(out.data() + 64, &guard, 4);
    }
    return error.what();
  }
  return "none";
}

TEST(HostExecutor, FindsWhatNeverMeets) {
  EXPECT_NE(fault_of<0>().find("__syncthreads"), std::string::npos) << fault_of<0>();
  EXPECT_NE(fault_of<1>().find("a shuffle"), std::string::npos) << fault_of<1>();
  EXPECT_NE(fault_of<4>().find("ended"), std::string::npos) << fault_of<4>();
}

TEST(HostExecutor, FindsCopiesThatNobodyWaitsForAndThatLieAskew) {
  EXPECT_NE(fault_of<5>().find("before its copies have arrived"), std::string::npos) << fault_of<5>();
  EXPECT_NE(fault_of<6>().find("no multiples of 16"), std::string::npos) << fault_of<6>();
}

TEST(HostExecutor, FindsWritesBesideMemory) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the guard zone is memory of our own to the address sanitizer";
#endif
  EXPECT_NE(fault_of<2>().find("beside device memory"), std::string::npos) << fault_of<2>();
}

TEST(HostExecutor, UnwrittenSharedMemoryIsPoison) {
  DeviceBuffer<float> out(64);
  launch(faulty<3>, dim3(1), dim3(64), 64 * sizeof(float), nullptr, out.data());
  const auto values = read(out);
  EXPECT_TRUE(std::any_of(values.begin(), values.end(), [](float v) { return std::isnan(v); }));
  DeviceBuffer<float> copied(64);
  launch(faulty<7>, dim3(1), dim3(64), 64 * sizeof(float), nullptr, copied.data());
  const auto early = read(copied);
  EXPECT_TRUE(std::all_of(early.begin(), early.end(), [](float v) { return std::isnan(v); }))
      << "what is copied is there before it was waited for";
}

// C = A B with rows of A and columns of B as the device holds them.
template <int bits>
__global__ void multiply(const std::int8_t* a, const std::int8_t* b, float* c) {
  const unsigned g = threadIdx.x / 4, t = threadIdx.x % 4;
  std::uint32_t fa[4] = {}, fb[2] = {};
  constexpr unsigned depth = bits == 8 ? 32 : 16, packed = depth / 8;
  for (unsigned r = 0; r < 4; ++r)
    for (unsigned i = 0; i < packed; ++i) {
      const int av = a[(g + 8 * (r % 2)) * depth + packed * t + i + depth / 2 * (r / 2)];
      fa[r] |= bits == 8 ? static_cast<std::uint32_t>(av & 255) << 8 * i
                         : static_cast<std::uint32_t>(device::f32_to_f16(static_cast<float>(av))) << 16 * i;
      if (r > 1) continue;
      const int bv = b[(packed * t + i + depth / 2 * r) * 8 + g];
      fb[r] |= bits == 8 ? static_cast<std::uint32_t>(bv & 255) << 8 * i
                         : static_cast<std::uint32_t>(device::f32_to_f16(static_cast<float>(bv))) << 16 * i;
    }
  float f[4] = {1, 1, 1, 1};
  if (bits == 8) {
    int n[4] = {1, 1, 1, 1};
    device::mma_s8(n, fa, fb);
    for (int i = 0; i < 4; ++i) f[i] = static_cast<float>(n[i]);
  } else {
    device::mma_f16(f, fa, fb);
  }
  for (unsigned i = 0; i < 4; ++i) c[(g + 8 * (i / 2)) * 8 + 2 * t + i % 2] = f[i];
}

TEST(HostExecutor, MultipliesFragmentsAsTheDeviceHoldsThem) {
  for (const int depth : {16, 32}) {
    std::vector<std::int8_t> a(static_cast<std::size_t>(16 * depth)), b(static_cast<std::size_t>(8 * depth));
    for (std::size_t i = 0; i < a.size(); ++i) a[i] = static_cast<std::int8_t>(i * 37 % 251 - 125);
    for (std::size_t i = 0; i < b.size(); ++i) b[i] = static_cast<std::int8_t>(i * 91 % 241 - 120);
    DeviceBuffer<std::int8_t> da(a.size()), db(b.size());
    DeviceBuffer<float> dc(128);
    da.write(a, nullptr);
    db.write(b, nullptr);
    launch(depth == 32 ? multiply<8> : multiply<16>, dim3(1), dim3(32), 0, nullptr, da.data(), db.data(),
           dc.data());
    const auto c = read(dc);
    for (int m = 0; m < 16; ++m)
      for (int n = 0; n < 8; ++n) {
        int sum = 1;
        for (int k = 0; k < depth; ++k)
          sum += a[static_cast<std::size_t>(m * depth + k)] * b[static_cast<std::size_t>(k * 8 + n)];
        EXPECT_EQ(c[static_cast<std::size_t>(m * 8 + n)], static_cast<float>(sum));
      }
  }
}

// prmt.b32, as the PTX ISA says it: bytes 0 to 3 are those of a, 4 to 7 those of b; a nibble of the selector
// names one of them, and with its fourth bit the sign of that byte, eight times.
std::uint32_t permuted(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  std::uint32_t result = 0;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> 4 * i & 15u, which = nibble & 7u;
    const std::uint32_t byte = (which < 4 ? a >> 8 * which : b >> 8 * (which - 4)) & 255u;
    result |= (nibble < 8 ? byte : byte & 128u ? 255u : 0u) << 8 * i;
  }
  return result;
}

TEST(HostExecutor, PermutesBytesByEverySelector) {
  for (std::uint32_t selector = 0; selector < 65536; ++selector) {
    ASSERT_EQ(device::permute_bytes(0x80ff7f01u, 0x00fe8102u, selector),
              permuted(0x80ff7f01u, 0x00fe8102u, selector));
    ASSERT_EQ(__byte_perm(0x80ff7f01u, 0x00fe8102u, selector),
              permuted(0x80ff7f01u, 0x00fe8102u, selector & 0x7777u));
  }
}

TEST(HostExecutor, ConvertsAndShiftsAsTheDevice) {
  EXPECT_EQ(__float2int_rn(2.5f), 2);
  EXPECT_EQ(__float2int_rn(-3.5f), -4);
  EXPECT_EQ(__float2int_rn(3e9f), INT32_MAX);
  EXPECT_EQ(__float2int_rn(-INFINITY), INT32_MIN);
  EXPECT_EQ(__float2int_rn(NAN), 0);
  EXPECT_EQ(device::fast_exp2(-127.0f), 0.0f);  // subnormal
  EXPECT_EQ(device::fast_exp2(-126.0f), 0x1p-126f);
  EXPECT_EQ(__funnelshift_l(0x89abcdefu, 0x01234567u, 8), 0x23456789u);
  EXPECT_EQ(__funnelshift_l(1u, 2u, 32), 2u);  // by the lower five bits
  EXPECT_EQ(__funnelshift_r(0x89abcdefu, 0x01234567u, 8), 0x6789abcdu);
}

// shfl.sync: what each lane gets within parts of eight lanes.
template <int>
__global__ void shuffle_parts(int* out) {
  const int lane = static_cast<int>(threadIdx.x);
  out[lane] = __shfl_sync(0xffffffffu, lane, 9, 8);
  out[32 + lane] = __shfl_up_sync(0xffffffffu, lane, 3, 8);
  out[64 + lane] = __shfl_down_sync(0xffffffffu, lane, 3, 8);
  out[96 + lane] = __shfl_xor_sync(0xffffffffu, lane, 8, 8);
  out[128 + lane] = static_cast<int>(__ballot_sync(0xffffffffu, lane % 3 == 0));
}

TEST(HostExecutor, ShufflesWithinPartsAsTheDevice) {
  DeviceBuffer<int> out(160);
  launch(shuffle_parts<0>, dim3(1), dim3(32), 0, nullptr, out.data());
  const auto got = read(out);
  int votes = 0;
  for (int lane = 0; lane < 32; ++lane) votes |= lane % 3 == 0 ? static_cast<int>(1u << lane) : 0;
  for (int lane = 0; lane < 32; ++lane) {
    const auto at = [&](int which) { return got[static_cast<std::size_t>(32 * which + lane)]; };
    EXPECT_EQ(at(0), lane / 8 * 8 + 1);
    EXPECT_EQ(at(1), lane % 8 < 3 ? lane : lane - 3);
    EXPECT_EQ(at(2), lane % 8 > 4 ? lane : lane + 3);
    EXPECT_EQ(at(3), lane / 8 % 2 == 1 ? lane - 8 : lane);  // from an earlier part, not from a later one
    EXPECT_EQ(at(4), votes);
  }
}

TEST(HostExecutor, PermutesBytes) {
  EXPECT_EQ(__byte_perm(0x33221100u, 0x77665544u, 0x7520u), 0x77552200u);
  EXPECT_EQ(__byte_perm(0x80u, 0, 0x0888u), 0x80808080u);  // as the device's, without signs
  EXPECT_EQ(device::permute_bytes(0x33221100u, 0x77665544u, 0x7520u), 0x77552200u);
  EXPECT_EQ(device::permute_bytes(0x80u, 0x7fu, 0x0c88u), 0x8000ffffu);
  EXPECT_EQ(__dp4a(0x01ff7f80, 0x01010203, 5), 5 + 1 - 1 + 254 - 384);
}

}  // namespace
}  // namespace spectralkv
