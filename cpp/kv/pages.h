// Memory of a device that sealed blocks are written to, one behind the other: pages that are never moved, and
// that forks of a sequence share. Where the next block goes is decided here, for every device; how bytes and
// the cursor travel is the device's.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace spectralkv {

// Where the next block goes: into `page`, or, where that has no room left, into `next`.
struct PageCursor {
  std::uint8_t* page;
  std::uint64_t used, size;  // bytes of it
  std::uint8_t* next;        // an empty one, or null
  std::uint64_t next_size;
};

// The pages of a layer's K or V. Page: Page(bytes, args...) owns memory of the device, with data() and
// size(); what else it is made with is the device's.
template <class Page>
class Pages {
 public:
  static constexpr std::uint64_t kPageBytes = 1 << 20;

  bool empty() const { return pages_.empty(); }
  std::uint8_t* last() const { return pages_.back()->data(); }
  std::uint64_t last_bytes() const { return pages_.back()->size(); }
  auto begin() const { return pages_.begin(); }
  auto end() const { return pages_.end(); }

  void clear() {
    pages_.clear();
    most_used_ = 0;
  }

  // A page behind the others: as many times `most` bytes as make kPageBytes, so that blocks of one size fill
  // it, and at least two.
  template <class... Args>
  void add(std::uint64_t most, const Args&... args) {
    const std::uint64_t blocks = std::max<std::uint64_t>(2, (kPageBytes + most - 1) / most);
    pages_.push_back(std::make_shared<Page>(static_cast<std::size_t>(blocks * most), args...));
    most_used_ = 0;
  }

  // The next block goes behind `used` bytes of the last page; or into another one, where a fork may read what
  // stands there.
  PageCursor place_behind(std::uint64_t used) {
    most_used_ = pages_.back().use_count() > 1 ? last_bytes() : used;
    return {last(), most_used_, last_bytes(), nullptr, 0};
  }

  // Forgets what stands from `end` on, which is in one of the pages.
  PageCursor keep_until(const std::uint8_t* end) {
    while (!holds(*pages_.back(), end)) pages_.pop_back();
    return place_behind(static_cast<std::uint64_t>(end - last()));
  }

  // Room for blocks of at most `most` bytes, in the page that is being filled or in another one behind it:
  // blocks are usually much smaller, and what they leave is taken by the next. read: the device's cursor,
  // asked for only where the bytes that might be used fill the page. Returns the cursor that the device shall
  // have from now on, if another.
  template <class Read, class... Args>
  std::optional<PageCursor> make_room(std::uint64_t most, const Read& read, const Args&... args) {
    std::optional<PageCursor> moved;
    if (pages_.empty()) {
      add(most, args...);
      moved = place_behind(0);
    } else if (most_used_ + most > last_bytes()) {
      PageCursor cursor = read();
      const bool in_last = cursor.page == last();
      most_used_ = in_last ? cursor.used : 0;
      if (in_last && most_used_ + most > last_bytes()) {
        add(most, args...);
        cursor.next = last();
        cursor.next_size = last_bytes();
        moved = cursor;
      }
    }
    most_used_ += most;
    return moved;
  }

  static bool holds(const Page& page, const std::uint8_t* place) {
    return place >= page.data() && place < page.data() + page.size();
  }

 private:
  std::vector<std::shared_ptr<Page>> pages_;
  std::uint64_t most_used_ = 0;  // of the last page: at least what its cursor says
};

}  // namespace spectralkv
