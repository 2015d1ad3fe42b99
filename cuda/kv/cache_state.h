// What a DeviceCache holds.
#pragma once

#include <memory>
#include <vector>

#include "cuda/kv/device_cache.h"
#include "cuda/kv/page_pool.h"
#include "cuda/kv/seal.h"
#include "cuda/kv/views.h"

namespace spectralkv {

namespace device_kv {

constexpr std::int64_t kChunk = 256;  // tokens that go through a layer together

// K or V of a layer.
struct DeviceSide {
  device::DeviceBuffer<std::uint8_t> ring, sinks;
  device::DeviceBuffer<std::uint8_t*> blocks;
  device::DeviceBuffer<std::uint32_t> sizes;
  device::DeviceBuffer<PageCursor> cursor;
  // The cursor as the newest sealing left it, and as the host gives it to the device.
  device::PinnedBuffer<PageCursor> seen_cursor{1}, next_cursor{1};
  Pages<PooledPage> pages;
  std::int64_t row_bytes = 0;          // of an exact row
  std::vector<std::uint8_t> codec_of;  // as SideView has it, on the host

  void write_cursor(const PageCursor& to, device::Stream stream);
};

struct DeviceLayer {
  LayerView view{};
  StoreView store{};
  DeviceSide side[2];
  std::int64_t sealed = 0;  // blocks that have been encoded, those included that no query reads as sealed yet
  device::Event newest;     // sealing of it
  bool pending = false;     // which `main` has not waited for
  // Whether some heads are codes in tiles on both sides, and whether some are not.
  bool some_tiles = false, some_plain = false;
  bool searches = false;  // some codec looks for the codes of a row together

  const CodecView& codec(std::size_t which, std::size_t head) const {
    const auto& of = side[which].codec_of;
    return view.side[which].codecs[of.empty() ? 0 : of[head]];
  }
};

}  // namespace device_kv

struct DeviceCache::State {
  State(const CacheFormat& format, std::int64_t n_ctx, device_kv::DeviceWork& work);
  ~State();

  const CacheFormat& format;
  std::int64_t n_ctx, n_tokens = 0;
  device_kv::DeviceWork& work;
  std::vector<device_kv::DeviceLayer> layers;
  device::DeviceBuffer<std::int64_t> positions;  // of each chunk of a step of several tokens
  std::shared_ptr<RowFault> words;               // shared with who looks for faults later

  const LayerFormat& type(std::size_t l) const { return format.layer(static_cast<std::int64_t>(l)); }
  const SideFormat& type_side(std::size_t l, int side) const { return side == 0 ? type(l).k : type(l).v; }
  std::int64_t sealed_for(std::size_t l, std::int64_t t) const { return type(l).layout.sealed_for(t); }

  // Encodes blocks of a layer until `count` are.
  void seal_until(std::size_t l, std::int64_t count, bool beside, const device_kv::FreshRows& fresh = {});
  // Before a step of several tokens comes in, k and v [n, heads * d]: what its queries will read as sealed,
  // all blocks together.
  void seal_ahead(std::size_t l, ConstMatrix k, ConstMatrix v);
  // Encodes complete blocks beside what else runs: all that the next query reads as sealed, and of the others
  // those of one layer after the other, so that they are spread over the tokens until a query does.
  void seal_complete();
  // Lets `main` wait for what was sealed beside it: of a layer, of all.
  void wait_for_sealing(std::size_t l);
  void wait_for_sealing();
  void drop_blocks(std::size_t l, std::int64_t keep);
  void restore_rows(std::size_t l, std::int64_t b, std::int64_t rows);
  void reset();
  // Becomes what `from` is, of the same format; its pages are shared from here on.
  void become(State& from);

  // A layer as the CPU holds it, and back.
  LayerStore to_host(std::size_t l);
  void from_host(std::size_t l, const LayerStore& host);

 private:
  // The kernels of `blocks` blocks into the slots.
  void encode_blocks(std::size_t l, const device_kv::SealArgs& args, std::int64_t blocks,
                     device_kv::SealMemory& memory, device::Stream stream);
  std::vector<SealedBlock> read_blocks(std::size_t l, int side) const;
  void write_blocks(std::size_t l, int side, std::span<const SealedBlock> blocks);
  void read_exact_rows(std::size_t l, int side, std::int64_t capacity, SideStore& to) const;
  void write_exact_rows(std::size_t l, int side, std::int64_t capacity, const SideStore& from);
};

}  // namespace spectralkv
