// What a DeviceCache holds.
#pragma once

#include <vector>

#include "base/threads.h"
#include "cuda/kv/device_cache.h"
#include "cuda/kv/eigen.h"
#include "cuda/kv/seal.h"
#include "cuda/kv/tables.h"

namespace spectralkv {

namespace device_kv {

constexpr std::int64_t kChunk = 256;  // tokens that go through a layer together

// K or V of a layer.
struct DeviceSide {
  device::DeviceBuffer<std::uint8_t> ring, sinks;
  device::DeviceBuffer<std::uint8_t*> blocks;
  device::DeviceBuffer<std::uint32_t> sizes;
  device::DeviceBuffer<PageCursor> cursor;
  std::vector<device::DeviceBuffer<std::uint8_t>> pages;
  std::uint64_t most_used = 0;  // of the last page: at least what its cursor says
  std::int64_t row_bytes = 0;   // of an exact row

  std::uint64_t page_bytes() const { return pages.empty() ? 0 : pages.back().size(); }
  // A page that takes at least two times `most` bytes.
  void add_page(std::uint64_t most);
  // The next block goes into the last page, behind `used` bytes.
  void write_cursor(std::uint64_t used, device::Stream stream);
};

struct DeviceLayer {
  LayerView view{};
  DeviceSide side[2];
  std::int64_t sealed = 0;  // blocks that have been encoded, those included that no query reads as sealed yet
};

// Memory of the sealing kernels, for one layer at a time.
struct SealMemory {
  device::DeviceBuffer<float> rows, factors;
  device::DeviceBuffer<int> exponents, ranks;
  device::DeviceBuffer<double> gram, eigenvalues, phi, allowed, long_vectors;
  device::DeviceBuffer<std::uint16_t> factor_codes;
  device::DeviceBuffer<std::uint8_t> codes, slots;
  device::DeviceBuffer<std::uint32_t> used;
  std::int64_t bytes() const;
};

}  // namespace device_kv

struct DeviceCache::State {
  State(const CacheShape& shape, const std::string& type_k, const std::string& type_v, device::Stream stream);
  ~State();

  CacheShape shape;
  ThreadPool pool{1};
  std::string type_k, type_v;
  Cache types;  // empty: codecs and layouts of every layer
  std::int64_t n_tokens = 0;
  device::Stream main, sealing;
  device::Event appended, sealed;
  bool seal_pending = false;  // work on `sealing` that `main` has not waited for
  device_kv::CodecTables tables;
  std::vector<device_kv::DeviceLayer> layers;
  device::DeviceBuffer<std::int64_t> positions;  // of each chunk of a step
  device::DeviceBuffer<unsigned long long> fault;
  device_kv::SealMemory memory;
  device_kv::BatchedEigen eigen;
  device::DeviceBuffer<float> plain, entered, steps, states;  // of attention
  device::DeviceBuffer<std::int8_t> bytes;

  const CacheLayer& type(std::size_t l) const { return types.layer(static_cast<std::int64_t>(l)); }
  const CacheSide& type_side(std::size_t l, int side) const { return side == 0 ? type(l).k : type(l).v; }
  std::int64_t sealed_for(std::size_t l, std::int64_t t) const { return sealed_before(type(l).layout, t); }

  // Encodes blocks of a layer until `count` are.
  void seal_until(std::size_t l, std::int64_t count, device::Stream stream);
  // Encodes all complete blocks, beside what else runs.
  void seal_complete();
  void wait_for_sealing(device::Stream stream);
  // Room for blocks of `most` bytes more, in the page that is being filled or in another one behind it.
  // Blocks are usually much smaller; what they leave is taken by the next.
  void make_room(device_kv::DeviceSide& side, std::uint64_t most, device::Stream stream);
  void drop_blocks(std::size_t l, std::int64_t keep);
  void restore_rows(std::size_t l, std::int64_t b, std::int64_t rows);
  void reset();

  // A whole side's blocks on the host, as the CPU's cache holds them.
  std::vector<SealedBlock> read_blocks(std::size_t l, int side, std::int64_t count) const;
  void write_blocks(std::size_t l, int side, std::span<const SealedBlock> blocks);
  void read_exact_rows(std::size_t l, int side, CacheSide& to) const;
  void write_exact_rows(std::size_t l, int side, const CacheSide& from);
};

}  // namespace spectralkv
