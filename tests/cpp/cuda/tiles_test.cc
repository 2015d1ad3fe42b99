// Tiles of codes as operands of matrix products, on the device itself.
#include <gtest/gtest.h>

#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/tiles.cuh"

namespace spectralkv {
namespace {

using device::DeviceBuffer;

// rows [16]: a byte a column.
template <int bits>
__global__ void expand_tile(const std::uint8_t* tile, const std::uint32_t* levels, std::uint32_t* rows) {
  const std::uint32_t own[4] = {levels[0], levels[1], levels[2], levels[3]};
  device_kv::Tile<bits> loaded;
  loaded.load(tile, true);
  for (int r = 0; r < 4; ++r) {
    std::uint32_t out[4];
    loaded.expand(own, r, out);
    for (int m = 0; m < 4; ++m) rows[4 * m + r] = out[m];
  }
}

template <int bits>
void expect_levels() {
  std::vector<std::uint8_t> codes(kSkvTileCodes), tile(skv_tile_bytes(bits));
  for (std::size_t i = 0; i < codes.size(); ++i)
    codes[i] = static_cast<std::uint8_t>((i * 7 + i / 16) % (1u << bits));
  skv_pack_tile(codes.data(), bits, tile.data());
  std::vector<std::uint32_t> levels(4), rows(16);
  const auto level = [](unsigned code) { return 17u * code + 3u; };  // a byte
  for (unsigned code = 0; code < 16; ++code) levels[code / 4] |= (level(code) & 255u) << code % 4 * 8;
  DeviceBuffer<std::uint8_t> on_device(tile.size());
  DeviceBuffer<std::uint32_t> its_levels(levels.size()), its_rows(rows.size());
  on_device.write(tile, nullptr);
  its_levels.write(levels, nullptr);
  device::launch(expand_tile<bits>, dim3(1), dim3(1), 0, nullptr, on_device.data(), its_levels.data(),
                 its_rows.data());
  its_rows.read(rows, nullptr);
  device::synchronize(nullptr);
  for (std::size_t i = 0; i < codes.size(); ++i)
    EXPECT_EQ(rows[i / 4] >> i % 4 * 8 & 255u, level(codes[i]) & 255u)
        << bits << " bits, row " << i / 4 << ", column " << i % 4;
}

TEST(Tiles, ExpandToTheLevelsOfTheirCodes) {
  expect_levels<2>();
  expect_levels<3>();
  expect_levels<4>();
}

}  // namespace
}  // namespace spectralkv
