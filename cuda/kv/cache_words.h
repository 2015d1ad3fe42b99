// Two words of each cache on the device: the position of a single token that it takes, and where a row was
// not finite. Those of many caches lie side by side, so that a step writes and reads them for all of its
// caches together.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "cuda/device/memory.h"

namespace spectralkv::device_kv {

// The words of so many caches; they never move.
struct WordSlab {
  static constexpr int kCaches = 64;
  explicit WordSlab(device::Stream stream) { device::fill_bytes(faults.data(), 0, faults.bytes(), stream); }

  device::DeviceBuffer<std::int64_t> positions{kCaches};
  device::DeviceBuffer<unsigned long long> faults{kCaches};                       // of fault_code; 0: none
  std::vector<std::int64_t> next_positions = std::vector<std::int64_t>(kCaches);  // as they shall be
  device::PinnedBuffer<unsigned long long> seen_faults{kCaches};                  // as they were read last
  std::uint64_t taken = 0;                                                        // a bit a cache

  void write_positions(device::Stream stream) { positions.write(next_positions, stream); }
  void read_faults(device::Stream stream) {
    faults.read(seen_faults.first(static_cast<std::size_t>(kCaches)), stream);
  }
};

// A cache's place in one of them, its own while this lives.
class CacheWords {
 public:
  CacheWords(std::shared_ptr<WordSlab> slab, int at) : slab_(std::move(slab)), at_(at) {
    slab_->taken |= bit();
    slab_->seen_faults[place()] = 0;
  }
  ~CacheWords() { slab_->taken &= ~bit(); }
  CacheWords(const CacheWords&) = delete;
  CacheWords& operator=(const CacheWords&) = delete;

  WordSlab& slab() const { return *slab_; }
  const std::int64_t* position() const { return slab_->positions.data() + at_; }
  unsigned long long* fault() const { return slab_->faults.data() + at_; }
  void set_position(std::int64_t position) const { slab_->next_positions[place()] = position; }
  unsigned long long seen_fault() const { return slab_->seen_faults[place()]; }

 private:
  std::uint64_t bit() const { return std::uint64_t{1} << at_; }
  std::size_t place() const { return static_cast<std::size_t>(at_); }

  std::shared_ptr<WordSlab> slab_;
  int at_;
};

class WordSlabs {
 public:
  // A free place; stream: where new ones are made ready.
  template <class Owner>
  std::shared_ptr<Owner> take(device::Stream stream) {
    for (const auto& slab : slabs_)
      for (int at = 0; at < WordSlab::kCaches; ++at)
        if ((slab->taken >> at & 1u) == 0) return std::make_shared<Owner>(slab, at);
    slabs_.push_back(std::make_shared<WordSlab>(stream));
    return std::make_shared<Owner>(slabs_.back(), 0);
  }
  std::int64_t bytes() const {
    std::size_t sum = 0;
    for (const auto& slab : slabs_) sum += slab->positions.bytes() + slab->faults.bytes();
    return static_cast<std::int64_t>(sum);
  }

 private:
  std::vector<std::shared_ptr<WordSlab>> slabs_;
};

}  // namespace spectralkv::device_kv
