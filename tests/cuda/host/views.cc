// The bytes behind views.h: of all device memory, what a block saw last and what others made of it.
#include "tests/cuda/host/views.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "tests/cuda/host/runtime_host.h"

namespace spectralkv::host {
namespace {

constexpr std::byte kPoison{0xff};  // NaN as any float
constexpr std::size_t kChunk = 256;

enum class Written : unsigned char { nowhere, unfenced, fenced, released };

struct Region {
  std::byte* at;
  std::size_t bytes;
  std::vector<std::byte> seen;      // by the block that runs, when it last looked
  std::vector<std::byte> value;     // that the launch gives a byte
  std::vector<Written> written;     // whether it does
  std::vector<std::size_t> chunks;  // with such bytes, each once
};

bool on = false;
BlockOrder order = BlockOrder::rising;
std::vector<Region> regions;
bool observed = false;  // the block that runs has had an atomic

// What the block has written since it last looked.
void take_writes(Written as) {
  for (Region& r : regions)
    for (std::size_t first = 0; first < r.bytes; first += kChunk) {
      const std::size_t end = std::min(r.bytes, first + kChunk);
      if (std::memcmp(r.at + first, r.seen.data() + first, end - first) == 0) continue;
      const bool known = std::any_of(r.written.begin() + static_cast<std::ptrdiff_t>(first),
                                     r.written.begin() + static_cast<std::ptrdiff_t>(end),
                                     [](Written w) { return w != Written::nowhere; });
      if (!known) r.chunks.push_back(first);
      for (std::size_t i = first; i < end; ++i)
        if (r.at[i] != r.seen[i]) {
          r.value[i] = r.seen[i] = r.at[i];
          r.written[i] = as;
        }
    }
}

// Calls visit(region, i) for every byte that the launch has written.
template <class Visit>
void for_written(const Visit& visit) {
  for (Region& r : regions)
    for (const std::size_t first : r.chunks)
      for (std::size_t i = first; i < std::min(r.bytes, first + kChunk); ++i)
        if (r.written[i] != Written::nowhere) visit(r, i);
}

template <class Visit>
void for_bytes_at(void* at, std::size_t bytes, const Visit& visit) {
  auto* const first = static_cast<std::byte*>(at);
  for (Region& r : regions)
    if (first >= r.at && first + bytes <= r.at + r.bytes) {
      const auto offset = static_cast<std::size_t>(first - r.at);
      for (std::size_t i = offset; i < offset + bytes; ++i) visit(r, i);
    }
}

}  // namespace

BlockViews::BlockViews(BlockOrder of_blocks) {
  on = true;
  order = of_blocks;
}
BlockViews::~BlockViews() {
  on = false;
  order = BlockOrder::rising;
}

std::size_t block_in_turn(std::size_t i, std::size_t n) {
  if (order == BlockOrder::rising) return i;
  if (order == BlockOrder::falling) return n - 1 - i;
  std::size_t step = n / 2 + n / 8 + 1;  // neighbours come far apart
  while (std::gcd(step, n) != 1) ++step;
  return (n / 3 + i * step) % n;
}

void begin_launch_views() {
  regions.clear();
  if (!on) return;
  device::for_each_memory([](std::byte* at, std::size_t bytes) {
    regions.push_back({at,
                       bytes,
                       {at, at + bytes},
                       std::vector<std::byte>(bytes),
                       std::vector<Written>(bytes, Written::nowhere),
                       {}});
  });
}
void end_launch_views() {
  for_written([](Region& r, std::size_t i) { r.at[i] = r.value[i]; });
  regions.clear();
}
void begin_block_view() {
  observed = false;
  for_written([](Region& r, std::size_t i) { r.at[i] = r.seen[i] = kPoison; });
}
void end_block_view() {
  take_writes(Written::unfenced);
  for_written([](Region& r, std::size_t i) {
    if (r.written[i] == Written::fenced) r.written[i] = Written::unfenced;  // no atomic came behind
  });
}

void fence_view() {
  take_writes(Written::fenced);
  if (!observed) return;
  for_written([](Region& r, std::size_t i) {
    if (r.written[i] == Written::released) r.at[i] = r.seen[i] = r.value[i];
  });
}
void begin_atomic(void* at, std::size_t bytes) {
  observed = true;
  for_written([](Region& r, std::size_t i) {
    if (r.written[i] == Written::fenced) r.written[i] = Written::released;
  });
  for_bytes_at(at, bytes, [](Region& r, std::size_t i) {
    if (r.written[i] != Written::nowhere && r.at[i] == r.seen[i]) r.at[i] = r.value[i];
    r.seen[i] = r.at[i];
  });
}
void end_atomic(void* at, std::size_t bytes) {
  // What it made of the place is there for every atomic, and for who reads behind a fence.
  for_bytes_at(at, bytes, [](Region& r, std::size_t i) {
    const std::size_t first = i / kChunk * kChunk;
    if (std::find(r.chunks.begin(), r.chunks.end(), first) == r.chunks.end()) r.chunks.push_back(first);
    r.value[i] = r.seen[i] = r.at[i];
    r.written[i] = Written::released;
  });
}

}  // namespace spectralkv::host
