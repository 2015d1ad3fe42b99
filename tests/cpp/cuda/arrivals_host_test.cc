// Launches whose last thread block goes on with what the others made, in every order of the blocks, with
// memory as weak as a device may have it: only the host executor can be told so.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "cpp/cuda/cache_cases.h"
#include "cuda/device/arrivals.cuh"
#include "cuda/kv/attend.h"
#include "tests/cuda/host/views.h"

namespace spectralkv::arrivals_test {
namespace {

using host::BlockOrder;
using host::BlockViews;

constexpr BlockOrder kOrders[] = {BlockOrder::rising, BlockOrder::falling, BlockOrder::shuffled};

template <class T>
std::vector<T> read(const device::DeviceBuffer<T>& buffer) {
  std::vector<T> values(buffer.size());
  buffer.read(values, nullptr);
  device::synchronize(nullptr);
  return values;
}

// What a sum over blocks can lack.
enum class Without { nothing, writers_fence, readers_fence, barrier, reset };

// out = the sum of what all threads of all blocks write, one each.
template <Without without>
__global__ void sum_of_blocks(float* parts, unsigned* counter, float* out) {
  __shared__ bool last;
  parts[blockIdx.x * blockDim.x + threadIdx.x] = 1;
  if (without != Without::barrier) __syncthreads();
  if (threadIdx.x == 0) {
    if (without != Without::writers_fence) __threadfence();
    last = atomicAdd(counter, 1u) == gridDim.x - 1;
    if (last && without != Without::reset) *counter = 0;
    if (without != Without::readers_fence) __threadfence();
  }
  __syncthreads();
  if (!last || threadIdx.x != 0) return;
  float sum = 0;
  for (unsigned i = 0; i < gridDim.x * blockDim.x; ++i) sum += parts[i];
  *out = sum;
}

// Whether two launches of it, one after the other, give the sum.
template <Without without>
bool sums_up(BlockOrder order) {
  constexpr unsigned kBlocks = 7, kBlockThreads = 64;
  device::DeviceBuffer<float> parts(kBlocks * kBlockThreads), out(1);
  device::DeviceBuffer<unsigned> counter(1);
  device::fill_bytes(counter.data(), 0, counter.bytes(), nullptr);
  const BlockViews views(order);
  bool good = true;
  for (int launch = 0; launch < 2; ++launch) {
    device::fill_bytes(parts.data(), 0, parts.bytes(), nullptr);
    device::fill_bytes(out.data(), 0, out.bytes(), nullptr);
    device::launch(sum_of_blocks<without>, dim3(kBlocks), dim3(kBlockThreads), 0, nullptr, parts.data(),
                   counter.data(), out.data());
    good &= read(out)[0] == kBlocks * kBlockThreads && read(counter)[0] == 0;
  }
  return good;
}

TEST(HostExecutor, BlocksSeeWhatWasFencedOnBothSides) {
  for (const BlockOrder order : kOrders) {
    EXPECT_TRUE(sums_up<Without::nothing>(order));
    EXPECT_FALSE(sums_up<Without::writers_fence>(order));
    EXPECT_FALSE(sums_up<Without::readers_fence>(order));
    EXPECT_FALSE(sums_up<Without::barrier>(order));
    EXPECT_FALSE(sums_up<Without::reset>(order));
  }
}

template <int>
__global__ void notes_the_last(unsigned* counter, unsigned* lasts) {
  if (device::last_to_arrive(counter, gridDim.x) && threadIdx.x == 0) atomicAdd(lasts, 1u);
}

TEST(Arrivals, OneBlockIsTheLastAndTheCounterIsZeroAgain) {
  device::DeviceBuffer<unsigned> counter(1), lasts(1);
  device::fill_bytes(counter.data(), 0, counter.bytes(), nullptr);
  device::fill_bytes(lasts.data(), 0, lasts.bytes(), nullptr);
  device::Graph graph;
  graph.record(nullptr, [&] {
    device::launch(notes_the_last<0>, dim3(5), dim3(96), 0, nullptr, counter.data(), lasts.data());
  });
  for (unsigned replays = 1; replays <= 3; ++replays) {
    graph.launch(nullptr);
    EXPECT_EQ(read(lasts)[0], replays);
    EXPECT_EQ(read(counter)[0], 0u);
  }
}

using namespace cache_cases;

// What three sequences attend to, one token each, after the same past; and their launches.
struct Attended {
  std::vector<float> rows;
  std::vector<std::int8_t> codes;
  std::vector<cuda::GroupScale> scales;
  std::int64_t launches;

  bool operator==(const Attended& other) const {
    return rows == other.rows && codes == other.codes &&
           std::memcmp(scales.data(), other.scales.data(), scales.size() * sizeof scales[0]) == 0;
  }
};
Attended attend_once(const Case& c, const std::vector<std::unique_ptr<KvCache>>& sequences) {
  const auto n = std::ssize(sequences), width = c.heads * c.d, kv_width = c.kv_heads * c.d;
  const auto random = [](std::uint64_t seed, std::int64_t count) {
    device::DeviceBuffer<float> buffer(static_cast<std::size_t>(count));
    buffer.write(normals(seed, buffer.size()), nullptr);
    return buffer;
  };
  const auto q = random(1, n * width), k = random(2, n * kv_width), v = random(3, n * kv_width),
             out = random(4, n * width);
  device::DeviceBuffer<std::int8_t> codes(out.size());
  device::DeviceBuffer<cuda::GroupScale> scales(out.size() / 32);
  std::vector<std::unique_ptr<KvCache>> forks;
  std::vector<CachePart> parts;
  for (const auto& s : sequences) {
    forks.push_back(s->fork(s->n_ctx()));
    parts.push_back({static_cast<DeviceCache*>(forks.back().get()), std::ssize(parts), 1});
  }
  prepare(parts);
  // What was there must not pass for what this launch wrote: the same bytes written again are not seen as
  // written.
  auto& states = device_work().attention.states;
  device::fill_bytes(states.data(), 0xff, states.bytes(), nullptr);
  const std::int64_t before = device::calls().launches;
  attend(parts, 0, shape_of(c),
         {{q.data(), n, width},
          {k.data(), n, kv_width},
          {v.data(), n, kv_width},
          {out.data(), n, width},
          {},
          {codes.data(), scales.data()}});
  const std::int64_t launches = device::calls().launches - before;
  commit(parts);
  return {read(out), read(codes), read(scales), launches};
}

struct Joined {
  const char *k, *v;
  std::int64_t launches;  // behind the one that takes rows in
  bool tiles = false;     // sealed blocks by the tensor cores
  std::int64_t heads = 4, kv_heads = 2;
};
class CudaJoining : public testing::TestWithParam<Joined> {};

// In whatever order blocks come to their end, the last one joins the same states in the same order.
TEST_P(CudaJoining, IsTheSameInEveryOrderOfBlocks) {
  const Case c{GetParam().heads, GetParam().kv_heads, 64, 0, GetParam().k, GetParam().v};
  const auto format = std::make_shared<const CacheFormat>(CacheShape{1, c.kv_heads, c.d}, c.k, c.v);
  std::vector<std::unique_ptr<KvCache>> sequences;
  for (const std::int64_t begun : {300, 20, 150}) {
    auto cache = std::make_unique<DeviceCache>(format, 700, device_work());
    const std::int64_t width = c.kv_heads * c.d;
    device::DeviceBuffer<float> rows(static_cast<std::size_t>(begun * width));
    rows.write(normals(static_cast<std::uint64_t>(begun), rows.size()), nullptr);
    cache->prepare(begun);
    take_rows(*cache, 0, {rows.data(), begun, width}, {rows.data(), begun, width});
    cache->commit(begun);
    sequences.push_back(std::move(cache));
  }
  const Attended plain = attend_once(c, sequences);
  {  // a device where exact rows would leave less room: launches of their own, the same bits
    struct Small {
      Small() { device::shared_of_all_blocks = std::size_t{75} << 10; }
      ~Small() { device::shared_of_all_blocks = std::size_t{228} << 10; }
    } const small;
    const Attended apart = attend_once(c, sequences);
    EXPECT_EQ(apart, plain);
    EXPECT_EQ(apart.launches, plain.launches + (GetParam().tiles ? 1 : 0));
  }
  EXPECT_EQ(plain.launches, 1 + GetParam().launches);
  EXPECT_TRUE(std::none_of(plain.rows.begin(), plain.rows.end(), [](float x) { return std::isnan(x); }));
  for (const BlockOrder order : kOrders) {
    const BlockViews views(order);
    EXPECT_EQ(attend_once(c, sequences), plain);
    const auto arrived = read(device_work().attention.arrived);
    EXPECT_GE(arrived.size(), static_cast<std::size_t>(3 * c.kv_heads));
    EXPECT_TRUE(std::all_of(arrived.begin(), arrived.end(), [](unsigned n) { return n == 0; }));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Caches, CudaJoining,
    testing::Values(Joined{"eoptshrinkq:2,window=16", "eoptshrinkq:2,window=16", 1, true},
                    Joined{"turboquant:3,window=16,sink=3", "turboquant:4,window=16,sink=3", 1, true},
                    // Two blocks of rows.
                    Joined{"eoptshrinkq:2,window=16", "eoptshrinkq:2,window=16", 1, true, 22, 2},
                    Joined{"eoptshrinkq:5,window=16", "q8_0,window=16", 2}, Joined{"f16", "f16", 1},
                    Joined{"q8_0,window=16", "q8_0,window=16", 1}, Joined{"f32", "f32", 1}));

}  // namespace
}  // namespace spectralkv::arrivals_test
