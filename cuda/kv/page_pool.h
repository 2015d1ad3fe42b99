// Device memory for pages of sealed blocks. What one cache gives back the next one gets, and new memory comes
// many pages at a time, so that decoding hardly ever waits for the driver.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "cuda/device/memory.h"

namespace spectralkv::device_kv {

// Pages that are given back may still be read by what is under way: whoever gets them writes behind that, on
// the same stream or on one that waits for it.
class PagePool {
 public:
  explicit PagePool(std::size_t pages_at_once = device::kPagesAtOnce) : pages_at_once_(pages_at_once) {}

  std::uint8_t* take(std::size_t bytes) {
    auto& free = free_[bytes];
    if (free.empty()) {
      const std::size_t apart = (bytes + 255) / 256 * 256;
      slabs_.emplace_back(apart * pages_at_once_);
      for (std::size_t i = pages_at_once_; i-- > 0;) free.push_back(slabs_.back().data() + i * apart);
    }
    std::uint8_t* const page = free.back();
    free.pop_back();
    in_use_ += static_cast<std::int64_t>(bytes);
    return page;
  }
  void give_back(std::uint8_t* page, std::size_t bytes) {
    free_[bytes].push_back(page);
    in_use_ -= static_cast<std::int64_t>(bytes);
    if (in_use_ > 0) return;
    free_.clear();
    slabs_.clear();
  }
  // Bytes of pages that somebody has.
  std::int64_t in_use() const { return in_use_; }

 private:
  std::size_t pages_at_once_;
  std::map<std::size_t, std::vector<std::uint8_t*>> free_;  // by their bytes
  std::vector<device::DeviceBuffer<std::uint8_t>> slabs_;
  std::int64_t in_use_ = 0;
};

// A page, as Pages (kv/pages.h) has them.
class PooledPage {
 public:
  PooledPage(std::size_t bytes, const std::shared_ptr<PagePool>& pool)
      : pool_(pool), data_(pool->take(bytes)), size_(bytes) {}
  ~PooledPage() { pool_->give_back(data_, size_); }
  PooledPage(const PooledPage&) = delete;
  PooledPage& operator=(const PooledPage&) = delete;
  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::shared_ptr<PagePool> pool_;
  std::uint8_t* data_;
  std::size_t size_;
};

}  // namespace spectralkv::device_kv
