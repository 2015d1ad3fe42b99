// Construction, growth, truncation, forks and the byte account of the device cache.
#include "cuda/kv/device_cache.h"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "base/error.h"
#include "cuda/kv/cache_state.h"
#include "cuda/kv/seal_encode.cuh"
#include "cuda/kv/take_in.cuh"
#include "kv/ring.h"

namespace spectralkv {

using device::DeviceBuffer;
using device_kv::DeviceLayer;
using device_kv::DeviceSide;

namespace {

std::size_t size_of(std::int64_t n) {
  return static_cast<std::size_t>(n);
}

// What a calibration says of a layer, by name.
std::string calibrated(const CacheFormat& format, std::size_t l) {
  const auto& calibration = format.calibration();
  return concat("layer ", format.layers()[l].layer, " of ", calibration ? calibration->fingerprint() : 0);
}

}  // namespace

DeviceCache::State::State(const CacheFormat& f, std::int64_t context, device_kv::DeviceWork& shared)
    : format(f),
      n_ctx(context),
      work(shared),
      layers(size_of(f.shape().n_layers)),
      positions(size_of(context / device_kv::kChunk + 2)),
      words(shared.words.take<RowFault>(shared.main)) {
  words->n_kv_heads = format.shape().n_kv_heads;
  const std::int64_t d = format.shape().head_dim, heads = format.shape().n_kv_heads;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    DeviceLayer& layer = layers[l];
    const CacheLayout& layout = type(l).layout;
    auto& view = layer.view;
    static_cast<CacheLayout&>(view) = layout;
    view.layer = static_cast<int>(l);
    view.heads = static_cast<int>(heads);
    view.d = static_cast<int>(d);
    layer.store.ring_tokens = ring_rows(type(l), n_ctx, device_kv::kChunk);
    layer.store.fault = words->fault();
    if (!type(l).queries.empty()) {
      view.group = static_cast<int>(type(l).queries[0].rows);
      view.queries =
          work.tables.keep_matrices(concat("queries, ", calibrated(format, l)), type(l).queries, work.main);
    }
    const std::int64_t n_blocks = n_ctx / layout.block + 1;
    for (int which = 0; which < 2; ++which) {
      DeviceSide& side = layer.side[which];
      const SideFormat& of = type_side(l, which);
      auto& side_view = view.side[which];
      auto& store = layer.store.side[which];
      side.codec_of = work.tables.fill(side_view, of, which == 0 ? KvSide::keys : KvSide::values,
                                       calibrated(format, l), work.main);
      side_view.exact_f32 = of.exact_f32();
      side.row_bytes = device_kv::exact_bytes(side_view.exact_f32, d);
      side.ring = DeviceBuffer<std::uint8_t>(size_of(heads * layer.store.ring_tokens * side.row_bytes));
      side.sinks = DeviceBuffer<std::uint8_t>(size_of(heads * view.sink * side.row_bytes));
      side.blocks = DeviceBuffer<std::uint8_t*>(size_of(n_blocks * heads));
      side.sizes = DeviceBuffer<std::uint32_t>(size_of(n_blocks * heads));
      side.cursor = DeviceBuffer<PageCursor>(1);
      store.ring = side.ring.data();
      store.sinks = side.sinks.data();
      store.blocks = side.blocks.data();
      store.sizes = side.sizes.data();
      store.cursor = side.cursor.data();
      device::fill_bytes(side.ring.data(), 0, side.ring.bytes(), work.main);
    }
    for (std::size_t h = 0; h < size_of(heads); ++h) {
      const bool tiles = layer.codec(0, h).tiles && layer.codec(1, h).tiles;
      (tiles ? layer.some_tiles : layer.some_plain) = true;
      layer.searches |= layer.codec(0, h).searches || layer.codec(1, h).searches;
    }
  }
  reset();
}

DeviceCache::State::~State() {
  try {  // either may still write here
    device::synchronize(work.sealing);
    device::synchronize(work.main);
  } catch (const Error&) {  // a device that has failed says so elsewhere
  }
}

void DeviceCache::State::reset() {
  n_tokens = 0;
  wait_for_sealing();
  device::fill_bytes(words->fault(), 0, sizeof(unsigned long long), work.main);
  for (std::size_t l = 0; l < layers.size(); ++l) drop_blocks(l, 0);
}

void DeviceCache::State::become(State& from) {
  wait_for_sealing();
  from.wait_for_sealing();
  n_tokens = from.n_tokens;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    DeviceLayer& layer = layers[l];
    const DeviceLayer& held = from.layers[l];
    if (layer.store.ring_tokens != held.store.ring_tokens) {  // tokens stand in other rows
      from_host(l, from.to_host(l));
      continue;
    }
    layer.sealed = held.sealed;
    for (int which = 0; which < 2; ++which) {
      DeviceSide& side = layer.side[which];
      const DeviceSide& source = held.side[which];
      const auto copy = [&](const auto& to, const auto& what, std::size_t bytes) {
        device::copy_on_device(to.data(), what.data(), bytes, work.main);
      };
      const std::size_t n = size_of(held.sealed * format.shape().n_kv_heads);
      copy(side.ring, source.ring, source.ring.bytes());
      copy(side.sinks, source.sinks, source.sinks.bytes());
      copy(side.blocks, source.blocks, n * sizeof(std::uint8_t*));
      copy(side.sizes, source.sizes, n * sizeof(std::uint32_t));
      side.pages = source.pages;
      if (!side.pages.empty()) side.write_cursor(side.pages.place_behind(side.pages.last_bytes()), work.main);
    }
  }
}

void DeviceCache::State::wait_for_sealing(std::size_t l) {
  if (!layers[l].pending) return;
  layers[l].newest.make_wait(work.main);
  layers[l].pending = false;
}

void DeviceCache::State::wait_for_sealing() {
  for (std::size_t l = 0; l < layers.size(); ++l) wait_for_sealing(l);
}

// stream: one that has waited for the sealing of the layer.
void DeviceSide::write_cursor(const PageCursor& to, device::Stream stream) {
  device::synchronize(stream);
  seen_cursor[0] = next_cursor[0] = to;
  cursor.write(next_cursor.first(1), stream);
}

// Keeps the first `keep` blocks of a layer, and the pages that they are in.
void DeviceCache::State::drop_blocks(std::size_t l, std::int64_t keep) {
  DeviceLayer& layer = layers[l];
  if (keep >= layer.sealed && !(keep == 0 && layer.sealed == 0)) return;
  const std::int64_t held = layer.sealed;
  layer.sealed = keep;
  for (DeviceSide& side : layer.side) {
    if (keep == 0) side.pages.clear();
    if (keep == 0 || keep >= held) continue;
    const std::uint8_t* const end =
        side.blocks.read_one(size_of(keep * format.shape().n_kv_heads), work.main);
    side.write_cursor(side.pages.keep_until(end), work.main);
  }
}

// The first rows of exact block b go back into the ring.
void DeviceCache::State::restore_rows(std::size_t l, std::int64_t b, std::int64_t rows) {
  DeviceLayer& layer = layers[l];
  const auto& view = layer.view;
  for (DeviceSide& side : layer.side)
    for (std::int64_t h = 0; h < view.heads && rows > 0; ++h) {
      const std::uint8_t* const from = side.blocks.read_one(size_of(b * view.heads + h), work.main);
      const std::int64_t ring = layer.store.ring_tokens, row = h * ring + b * view.block % ring;
      device::copy_on_device(side.ring.data() + row * side.row_bytes, from, size_of(rows * side.row_bytes),
                             work.main);
    }
}

DeviceCache::DeviceCache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx,
                         device_kv::DeviceWork& work)
    : KvCache(std::move(format), n_ctx), state_(std::make_unique<State>(this->format(), n_ctx, work)) {
  static std::atomic<std::uint64_t> made{0};
  identity_ = ++made;
}
DeviceCache::~DeviceCache() = default;

std::int64_t DeviceCache::n_tokens() const {
  return state_->n_tokens;
}

void DeviceCache::reset() {
  state_->reset();
}

void DeviceCache::prepare(std::int64_t n) {
  const CachePart alone{this, 0, n};
  spectralkv::prepare({&alone, 1});
}
std::shared_ptr<const RowFault> DeviceCache::commit(std::int64_t n) {
  const CachePart alone{this, 0, n};
  return spectralkv::commit({&alone, 1})[0];
}

namespace {

// Calls visit with the slabs of parts' words, each once. Few: 64 caches share one.
template <class Visit>
void for_slabs(std::span<const CachePart> parts, const auto& words_of, const Visit& visit) {
  std::vector<device_kv::WordSlab*> slabs;
  for (const CachePart& part : parts) slabs.push_back(&words_of(part).slab());
  std::sort(slabs.begin(), slabs.end());
  slabs.erase(std::unique(slabs.begin(), slabs.end()), slabs.end());
  for (device_kv::WordSlab* const slab : slabs) visit(*slab);
}

}  // namespace

void prepare(std::span<const CachePart> parts) {
  for (const CachePart& part : parts) {
    DeviceCache::State& s = *part.cache->state_;
    check(part.n >= 1 && s.n_tokens + part.n <= s.n_ctx, "cuda", part.n, " tokens behind ", s.n_tokens,
          " do not fit into a context of ", s.n_ctx);
    if (part.n == 1) {
      s.words->set_position(s.n_tokens);
    } else {
      std::vector<std::int64_t> positions;
      for (std::int64_t at = 0; at < part.n; at += device_kv::kChunk) positions.push_back(s.n_tokens + at);
      s.positions.write(positions, s.work.main);
    }
    // A step of one token may be recorded, so what it reads is waited for here; longer ones wait layer by
    // layer.
    for (std::size_t l = 0; part.n == 1 && l < s.layers.size(); ++l)
      if (s.sealed_for(l, s.n_tokens) > s.sealed_for(l, s.n_tokens - 1)) s.wait_for_sealing(l);
  }
  std::vector<CachePart> tokens;
  std::copy_if(parts.begin(), parts.end(), std::back_inserter(tokens),
               [](const CachePart& part) { return part.n == 1; });
  if (tokens.empty()) return;
  const device::Stream main = tokens[0].cache->state_->work.main;
  for_slabs(
      tokens, [](const CachePart& part) -> const RowFault& { return *part.cache->state_->words; },
      [&](device_kv::WordSlab& slab) { slab.write_positions(main); });
}

std::vector<std::shared_ptr<const RowFault>> commit(std::span<const CachePart> parts) {
  std::vector<std::shared_ptr<const RowFault>> faults;
  if (parts.empty()) return faults;
  const device::Stream main = parts[0].cache->state_->work.main;
  for_slabs(
      parts, [](const CachePart& part) -> const RowFault& { return *part.cache->state_->words; },
      [&](device_kv::WordSlab& slab) { slab.read_faults(main); });
  for (const CachePart& part : parts) {
    DeviceCache::State& s = *part.cache->state_;
    s.n_tokens += part.n;
    s.seal_complete();
    faults.push_back(s.words);
  }
  return faults;
}

void DeviceCache::cut(std::int64_t n) {
  State& s = *state_;
  s.wait_for_sealing();
  for (std::size_t l = 0; l < s.layers.size(); ++l) {
    const std::int64_t keep = std::min(s.layers[l].sealed, n / s.type(l).layout.block);
    if (!s.type(l).lossy && s.layers[l].sealed > keep)
      s.restore_rows(l, keep, n - keep * s.type(l).layout.block);
    s.drop_blocks(l, keep);
  }
  s.n_tokens = n;
}

std::unique_ptr<KvCache> DeviceCache::twin(std::int64_t n_ctx) const {
  check_rows();
  auto twin = std::make_unique<DeviceCache>(shared_format(), n_ctx, state_->work);
  twin->state_->become(*state_);
  return twin;
}

void RowFault::check() const {
  const unsigned long long code = seen_fault();
  if (code == 0) return;
  const auto heads = static_cast<unsigned long long>(n_kv_heads), at = code - 1, rest = at / heads;
  fail(ErrorKind::value, "kv", "layer ", rest % 65536, ", KV head ", at % heads, ": the ",
       rest / 65536 % 2 == 0 ? "key" : "value", " of token ", rest / 65536 / 2,
       " is not finite, or beyond f16 (the cache type f32 can hold it)");
}

void DeviceCache::check_rows() const {
  const State& s = *state_;
  s.words->slab().read_faults(s.work.main);
  device::synchronize(s.work.main);
  s.words->check();
}

std::int64_t device_kv::SealMemory::bytes() const {
  return static_cast<std::int64_t>(
      rows.bytes() + factors.bytes() + exponents.bytes() + ranks.bytes() + gram.bytes() +
      eigenvalues.bytes() + tridiagonal.bytes() + eigen_work.bytes() + vectors.bytes() + phi.bytes() +
      allowed.bytes() + long_vectors.bytes() + factor_codes.bytes() + codes.bytes() + to_points.bytes() +
      slots.bytes() + used.bytes() + drawn.bytes() + logits.bytes() + kept.bytes() + second_codes.bytes());
}

std::int64_t device_kv::AttendMemory::bytes_held() const {
  std::size_t sum =
      plain.bytes() + entered.bytes() + steps.bytes() + states.bytes() + bytes.bytes() + arrived.bytes();
  for (int side = 0; side < 2; ++side) sum += expanded[side].bytes() + expanded_table[side].bytes();
  return static_cast<std::int64_t>(sum);
}

std::int64_t device_kv::DeviceWork::bytes() const {
  return words.bytes() + attention.bytes_held() + seal_main.bytes() + seal_beside.bytes() + tables.bytes();
}

std::int64_t DeviceCache::exact_bytes() const {
  std::int64_t bytes = 0;
  for (const DeviceLayer& layer : state_->layers)
    for (const DeviceSide& side : layer.side)
      bytes += static_cast<std::int64_t>(side.ring.bytes() + side.sinks.bytes());
  return bytes;
}

CacheReport DeviceCache::report() const {
  State& s = *state_;
  const device::Stream main = s.work.main;
  s.wait_for_sealing();
  check_rows();
  CacheReport report = empty_report(format(), n_ctx(), s.n_tokens);
  for (int which = 0; which < 2; ++which) {
    CacheSideReport& out = which == 0 ? report.k : report.v;
    SideCounter counter(out);
    for (std::size_t l = 0; l < s.layers.size(); ++l) {
      const DeviceSide& side = s.layers[l].side[which];
      const auto& view = s.layers[l].view;
      out.exact_bytes += static_cast<std::int64_t>(side.ring.bytes() + side.sinks.bytes());
      const std::int64_t n_blocks = s.sealed_for(l, s.n_tokens);
      const std::size_t n_heads = size_of(n_blocks * view.heads);
      if (n_heads == 0) continue;
      std::vector<std::uint32_t> sizes(n_heads);
      std::vector<std::uint64_t> bits(n_heads);
      DeviceBuffer<std::uint64_t> of_blocks(n_heads);
      device::launch(device_kv::count_paper_bits<0>,
                     dim3(static_cast<unsigned>((n_heads + device_kv::kThreads - 1) / device_kv::kThreads)),
                     dim3(device_kv::kThreads), 0, main, view, s.layers[l].store, which,
                     static_cast<int>(n_heads), of_blocks.data());
      side.sizes.read(sizes, main);
      of_blocks.read(bits, main);
      device::synchronize(main);
      for (std::size_t i = 0; i < sizes.size(); ++i) {
        const int n = view.block_tokens(static_cast<std::int64_t>(i) / view.heads);
        // With its entries in two tables and what aligns its codes.
        counter.add(static_cast<std::int64_t>(n) * view.d, (sizes[i] + 15) / 16 * 16 + 12,
                    static_cast<double>(bits[i]));
      }
    }
  }
  return report;
}

}  // namespace spectralkv
