// Layers on the host: how a device cache is read, saved and loaded, by the CPU's own code.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "cuda/codecs/codecs.cuh"
#include "cuda/kv/cache_state.h"
#include "kv/layer_state.h"
#include "kv/ring.h"

namespace spectralkv {

using device_kv::DeviceLayer;
using device_kv::DeviceSide;

namespace {

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

}  // namespace

std::vector<SealedBlock> DeviceCache::State::read_blocks(std::size_t l, int which) const {
  const DeviceSide& side = layers[l].side[which];
  const auto heads = size_of(format.shape().n_kv_heads), n = size_of(sealed_for(l, n_tokens)) * heads;
  std::vector<std::uint8_t*> places(n);
  std::vector<std::uint32_t> sizes(n);
  side.blocks.read(places, work.main);
  side.sizes.read(sizes, work.main);
  std::vector<Buffer<std::uint8_t>> images;  // of the pages
  for (const auto& page : side.pages) {
    images.emplace_back(page->size());
    device::copy_to_host(images.back().data(), page->data(), page->size(), work.main);
  }
  device::synchronize(work.main);
  const BlockPool pool;
  std::vector<SealedBlock> blocks;
  auto page = side.pages.begin();
  auto image = images.begin();
  for (std::size_t first = 0; first < n; first += heads) {
    std::vector<std::span<const std::byte>> of_heads;
    for (std::size_t i = first; i < first + heads; ++i) {
      for (; !side.pages.holds(**page, places[i]); ++page) ++image;  // blocks fill the pages in order
      of_heads.push_back(std::as_bytes(image->span())
                             .subspan(static_cast<std::size_t>(places[i] - (*page)->data()), sizes[i]));
    }
    blocks.emplace_back(pool, of_heads);
  }
  return blocks;
}

void DeviceCache::State::write_blocks(std::size_t l, int which, std::span<const SealedBlock> blocks) {
  DeviceLayer& layer = layers[l];
  DeviceSide& side = layer.side[which];
  const auto& view = layer.view;
  const auto heads = size_of(format.shape().n_kv_heads);
  std::vector<std::uint8_t*> places;
  std::vector<std::uint32_t> sizes;
  Buffer<std::uint8_t> image;  // of the page that is being filled
  std::uint64_t used = 0;
  const auto flush = [&] {
    if (side.pages.empty()) return;
    device::copy_to_device(side.pages.last(), image.data(), used, work.main);
    side.write_cursor(side.pages.place_behind(used), work.main);
  };
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const std::uint64_t most = static_cast<std::uint64_t>(blocks[b].bytes()) + 16 * heads;
    if (side.pages.empty() || used + most > side.pages.last_bytes()) {
      flush();
      side.pages.add(most, work.pages);
      image = Buffer<std::uint8_t>::zeros(side.pages.last_bytes());
      used = 0;
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const auto from = blocks[b].head(h);
      const std::uint64_t at = device_kv::place_of(layer.codec(static_cast<std::size_t>(which), h),
                                                   view.block_tokens(static_cast<std::int64_t>(b)),
                                                   reinterpret_cast<const std::uint8_t*>(from.data()), used);
      std::memcpy(image.data() + at, from.data(), from.size());
      places.push_back(side.pages.last() + at);
      sizes.push_back(static_cast<std::uint32_t>(from.size()));
      used = at + from.size();
    }
  }
  flush();
  side.blocks.write(places, work.main);
  side.sizes.write(sizes, work.main);
  device::synchronize(work.main);
}

void DeviceCache::State::read_exact_rows(std::size_t l, int which, std::int64_t capacity,
                                         SideStore& to) const {
  const DeviceSide& side = layers[l].side[which];
  const auto& view = layers[l].view;
  const std::int64_t begin = n_tokens - view.tail_tokens(n_tokens), ring_tokens = layers[l].store.ring_tokens;
  for (std::int64_t h = 0; h < view.heads; ++h)
    ring_runs(ring_tokens, begin, n_tokens, [&](std::int64_t row, std::int64_t at, std::int64_t n) {
      device::copy_to_host(to.tail.data() + (h * capacity + at) * side.row_bytes,
                           side.ring.data() + (h * ring_tokens + row) * side.row_bytes,
                           size_of(n * side.row_bytes), work.main);
    });
  device::copy_to_host(to.sinks.data(), side.sinks.data(), side.sinks.bytes(), work.main);
  device::synchronize(work.main);
}

void DeviceCache::State::write_exact_rows(std::size_t l, int which, std::int64_t capacity,
                                          const SideStore& from) {
  DeviceSide& side = layers[l].side[which];
  const auto& view = layers[l].view;
  const std::int64_t begin = n_tokens - view.tail_tokens(n_tokens), ring_tokens = layers[l].store.ring_tokens;
  for (std::int64_t h = 0; h < view.heads; ++h)
    ring_runs(ring_tokens, begin, n_tokens, [&](std::int64_t row, std::int64_t at, std::int64_t n) {
      device::copy_to_device(side.ring.data() + (h * ring_tokens + row) * side.row_bytes,
                             from.tail.data() + (h * capacity + at) * side.row_bytes,
                             size_of(n * side.row_bytes), work.main);
    });
  device::copy_to_device(side.sinks.data(), from.sinks.data(), side.sinks.bytes(), work.main);
  device::synchronize(work.main);
}

LayerStore DeviceCache::State::to_host(std::size_t l) {
  wait_for_sealing(l);
  LayerStore host(type(l), n_ctx);
  host.n_tokens = n_tokens;
  for (int which = 0; which < 2; ++which) {
    SideStore& side = which == 0 ? host.k : host.v;
    side.blocks = read_blocks(l, which);
    read_exact_rows(l, which, host.tail_capacity, side);
  }
  return host;
}

void DeviceCache::State::from_host(std::size_t l, const LayerStore& host) {
  for (int which = 0; which < 2; ++which) {
    const SideStore& side = which == 0 ? host.k : host.v;
    write_blocks(l, which, side.blocks);
    write_exact_rows(l, which, host.tail_capacity, side);
  }
  layers[l].sealed = std::ssize(host.k.blocks);
}

void DeviceCache::read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const {
  check_rows();
  const LayerStore host = state_->to_host(size_of(layer));
  const std::int64_t d = format().shape().head_dim;
  for (std::int64_t h = 0; h < format().shape().n_kv_heads; ++h)
    host.read_head(h, first, k.cols_range(h * d, d), v.cols_range(h * d, d));
}

void DeviceCache::save(StateWriter& out) const {
  check_rows();
  write_cache_head(out, format(), n_tokens());
  for (std::size_t l = 0; l < state_->layers.size(); ++l) write_layer(out, state_->to_host(l));
}

void DeviceCache::load(StateReader& in, std::int64_t n_tokens) {
  State& s = *state_;
  s.reset();
  s.n_tokens = n_tokens;
  read_cache_head(in, format(), n_tokens);
  for (std::size_t l = 0; l < s.layers.size(); ++l) {
    LayerStore host(s.type(l), s.n_ctx);
    read_layer(in, n_tokens, BlockPool(), host);
    s.from_host(l, host);
  }
  s.seal_complete();
}

}  // namespace spectralkv
