// The search for trellis codes on the device against the CPU's.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "cuda/codecs/trellis.cuh"
#include "cuda/device/memory.h"
#include "simd/dispatch.h"
#include "support/compare.h"

namespace spectralkv {
namespace {

using testing_support::normals;

// x, both [steps, 16]: a block a row.
template <int kUnused>
__global__ void search_rows(const std::int8_t* x, int steps, std::uint8_t* both) {
  const int row = static_cast<int>(blockIdx.x);
  const auto point = [&](int s) { return static_cast<int>(x[16 * s + row]); };
  const device_kv::TrellisSearch<decltype(point)> search{
      steps, device::dynamic_shared<device_kv::SearchStep>(), point};
  search.find([&](int s, std::uint8_t code) { both[16 * s + row] = code; });
}

// The search itself, on points that are the same on both sides: every byte.
TEST(Trellis, FindsTheCpusCodes) {
  for (const int steps : {4, 8, 20, 64, 128, 256}) {
    std::vector<std::int8_t> points(static_cast<std::size_t>(16 * steps));
    const auto from = normals(static_cast<std::uint64_t>(steps), points.size());
    for (std::size_t i = 0; i < points.size(); ++i)
      points[i] = i / 16 % 13 == 5 ? std::int8_t{kTrellisFree}
                                   : static_cast<std::int8_t>(std::clamp(from[i] * 55, -114.0f, 114.0f));
    std::vector<std::uint8_t> expected(points.size()), work(simd::trellis_work(steps)), got(points.size());
    kernels().trellis_codes(points.data(), steps, expected.data(), work.data());
    device::DeviceBuffer<std::int8_t> in(points.size());
    device::DeviceBuffer<std::uint8_t> out(points.size());
    in.write(points, nullptr);
    device::launch(search_rows<0>, dim3(16), dim3(32),
                   static_cast<std::size_t>(std::max(steps, 64)) * sizeof(device_kv::SearchStep), nullptr,
                   in.data(), steps, out.data());
    out.read(got, nullptr);
    device::synchronize(nullptr);
    EXPECT_EQ(got, expected) << steps;
  }
}

}  // namespace
}  // namespace spectralkv
