// Saving and loading: through a cache of the CPU, which knows the format and checks what it reads.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "cuda/codecs/codecs.cuh"
#include "cuda/kv/cache_state.h"

namespace spectralkv {

using device_kv::DeviceLayer;
using device_kv::DeviceSide;

namespace {

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// Calls copy(ring row, tail row, rows) for the runs of a head's tail that do not cross the ring's end.
template <class Copy>
void ring_runs(const device_kv::LayerView& view, std::int64_t begin, std::int64_t end, const Copy& copy) {
  for (std::int64_t t = begin; t < end;) {
    const std::int64_t row = t % view.ring_tokens, n = std::min(end - t, view.ring_tokens - row);
    copy(row, t - begin, n);
    t += n;
  }
}

}  // namespace

std::vector<SealedBlock> DeviceCache::State::read_blocks(std::size_t l, int which, std::int64_t count) const {
  const DeviceSide& side = layers[l].side[which];
  const auto heads = size_of(shape.n_kv_heads), n = size_of(count) * heads;
  std::vector<std::uint8_t*> places(n);
  std::vector<std::uint32_t> sizes(n);
  side.blocks.read(places, main);
  side.sizes.read(sizes, main);
  std::vector<Buffer<std::uint8_t>> pages;
  for (const auto& page : side.pages) {
    pages.emplace_back(page.size());
    page.read(pages.back().span(), main);
  }
  device::synchronize(main);
  std::vector<SealedBlock> blocks(size_of(count));
  std::size_t page = 0;
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    blocks[b].offsets.push_back(0);
    for (std::size_t h = 0; h < heads; ++h)
      blocks[b].offsets.push_back(blocks[b].offsets.back() + sizes[b * heads + h]);
    blocks[b].bytes = Buffer<std::byte>(blocks[b].offsets.back());
    for (std::size_t h = 0; h < heads; ++h) {
      const std::uint8_t* const at = places[b * heads + h];
      const auto inside = [&](std::size_t i) {
        return at >= side.pages[i].data() && at < side.pages[i].data() + side.pages[i].size();
      };
      while (!inside(page)) ++page;  // blocks fill the pages in order
      std::memcpy(blocks[b].bytes.data() + blocks[b].offsets[h],
                  pages[page].data() + (at - side.pages[page].data()), sizes[b * heads + h]);
    }
  }
  return blocks;
}

void DeviceCache::State::write_blocks(std::size_t l, int which, std::span<const SealedBlock> blocks) {
  DeviceLayer& layer = layers[l];
  DeviceSide& side = layer.side[which];
  const auto& view = layer.view;
  const auto heads = size_of(shape.n_kv_heads);
  std::vector<std::uint8_t*> places;
  std::vector<std::uint32_t> sizes;
  Buffer<std::uint8_t> image;  // of the page that is being filled
  std::uint64_t used = 0;
  const auto flush = [&] {
    if (side.pages.empty()) return;
    device::copy_to_device(side.pages.back().data(), image.data(), used, main);
    side.write_cursor(used, main);
  };
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::uint64_t most = blocks[b].offsets.back() + 16 * heads;
    if (side.pages.empty() || used + most > side.page_bytes()) {
      flush();
      side.add_page(most);
      image = Buffer<std::uint8_t>::zeros(side.page_bytes());
      used = 0;
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const auto from = blocks[b].head(h);
      const std::uint64_t at =
          device_kv::place_of(view.side[which].codec, view.block_tokens(static_cast<std::int64_t>(b)),
                              reinterpret_cast<const std::uint8_t*>(from.data()), used);
      std::memcpy(image.data() + at, from.data(), from.size());
      places.push_back(side.pages.back().data() + at);
      sizes.push_back(static_cast<std::uint32_t>(from.size()));
      used = at + from.size();
    }
  }
  flush();
  side.blocks.write(places, main);
  side.sizes.write(sizes, main);
  device::synchronize(main);
}

void DeviceCache::State::read_exact_rows(std::size_t l, int which, CacheSide& to) const {
  const DeviceSide& side = layers[l].side[which];
  const auto& view = layers[l].view;
  const std::int64_t begin = sealed_for(l, n_tokens) * view.block, capacity = type(l).tail_capacity();
  for (std::int64_t h = 0; h < view.heads; ++h)
    ring_runs(view, begin, n_tokens, [&](std::int64_t row, std::int64_t at, std::int64_t n) {
      device::copy_to_host(to.tail.data() + (h * capacity + at) * side.row_bytes,
                           side.ring.data() + (h * view.ring_tokens + row) * side.row_bytes,
                           size_of(n * side.row_bytes), main);
    });
  device::copy_to_host(to.sinks.data(), side.sinks.data(), side.sinks.bytes(), main);
  device::synchronize(main);
}

void DeviceCache::State::write_exact_rows(std::size_t l, int which, const CacheSide& from) {
  DeviceSide& side = layers[l].side[which];
  const auto& view = layers[l].view;
  const std::int64_t begin = sealed_for(l, n_tokens) * view.block, capacity = type(l).tail_capacity();
  for (std::int64_t h = 0; h < view.heads; ++h)
    ring_runs(view, begin, n_tokens, [&](std::int64_t row, std::int64_t at, std::int64_t n) {
      device::copy_to_device(side.ring.data() + (h * view.ring_tokens + row) * side.row_bytes,
                             from.tail.data() + (h * capacity + at) * side.row_bytes,
                             size_of(n * side.row_bytes), main);
    });
  device::copy_to_device(side.sinks.data(), from.sinks.data(), side.sinks.bytes(), main);
  device::synchronize(main);
}

void DeviceCache::save(StateWriter& out) const {
  State& s = *state_;
  s.wait_for_sealing(s.main);
  check_rows(s.main);
  Cache host(s.shape, s.type_k, s.type_v, s.pool);
  for (std::size_t l = 0; l < s.layers.size(); ++l) {
    CacheLayer& layer = host.layer_to_fill(static_cast<std::int64_t>(l));
    for (int which = 0; which < 2; ++which) {
      CacheSide& side = which == 0 ? layer.k : layer.v;
      side.blocks = s.read_blocks(l, which, s.sealed_for(l, s.n_tokens));
      s.read_exact_rows(l, which, side);
    }
  }
  host.set_tokens(s.n_tokens);
  host.save(out);
}

void DeviceCache::load(StateReader& in, std::int64_t n_tokens) {
  State& s = *state_;
  Cache host(s.shape, s.type_k, s.type_v, s.pool);
  host.load(in, n_tokens);
  s.reset();
  s.n_tokens = n_tokens;
  for (std::size_t l = 0; l < s.layers.size(); ++l) {
    const CacheLayer& layer = host.layer(static_cast<std::int64_t>(l));
    for (int which = 0; which < 2; ++which) {
      const CacheSide& side = which == 0 ? layer.k : layer.v;
      s.write_blocks(l, which, side.blocks);
      s.write_exact_rows(l, which, side);
    }
    s.layers[l].sealed = std::ssize(layer.k.blocks);
  }
  s.seal_complete();
}

}  // namespace spectralkv
