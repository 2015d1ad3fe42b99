// The scheduler behind executor.h.
#include "tests/cuda/host/executor.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "tests/cuda/host/fiber.h"
#include "tests/cuda/host/views.h"

namespace spectralkv::host {
namespace {

constexpr std::byte kPoison{0xff};  // NaN as any float

struct Warp;

struct Copy {
  std::byte* to;
  const void* from;
  std::size_t bytes, zeros;
};

struct Lane {
  Fiber fiber;
  Warp* warp = nullptr;
  unsigned index = 0;  // in the warp
  dim3 thread;
  Meeting waits = Meeting::none;
  bool done = false;
  unsigned mask = 0;
  Site site{"", 0};
  Combine combine = nullptr;
  Word word;
  std::vector<Copy> copies;              // begun since the last group
  std::deque<std::vector<Copy>> groups;  // oldest first
};

struct Warp {
  Lane* lanes[32] = {};
  unsigned count = 0;
  WarpWords words;
};

const char* name_of(Meeting kind) {
  switch (kind) {
    case Meeting::none:
      return "nothing";
    case Meeting::block:
      return "__syncthreads";
    case Meeting::warp:
      return "__syncwarp";
    case Meeting::shuffle:
      return "a shuffle";
    case Meeting::vote:
      return "a vote";
    case Meeting::matrices:
      return "a load of matrices";
    case Meeting::mma:
      return "a matrix product";
  }
  return "?";
}

class Machine {
 public:
  void run(const char* name, dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body);

  void yield() { switch_fiber(current_->fiber, main_, false); }
  void enter() {
    fiber_arrived();
    (*body_)();
    if (!current_->copies.empty() || !current_->groups.empty())
      fail_here("a thread ends before its copies have arrived; it was last");
    current_->done = true;
    switch_fiber(current_->fiber, main_, true);
  }
  [[noreturn]] void fail_here(const std::string& what) {
    fault_ = what + " at " + place(current_->site);
    current_->done = true;
    switch_fiber(current_->fiber, main_, true);
    std::abort();
  }

  Lane* current_ = nullptr;
  dim3 grid_, block_, block_index_;
  std::byte* shared_ = nullptr;

 private:
  static std::string place(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }
  std::string standing() const;
  void run_block(bool rising);
  bool run_warp(Warp& warp, bool rising);
  bool release_warp(Warp& warp);
  bool release_block();
  [[noreturn]] void fail(const std::string& what) const;

  Fiber main_;
  std::string name_, fault_;
  const std::function<void()>* body_ = nullptr;
  std::vector<std::unique_ptr<Lane>> lanes_;  // kept for later launches
  std::vector<Lane*> active_;                 // of this launch
  std::vector<Warp> warps_;
};

thread_local Machine machine;

void enter_machine() {
  machine.enter();
}

void Machine::fail(const std::string& what) const {
  throw std::runtime_error("kernel " + name_ + ", block (" + std::to_string(block_index_.x) + ", " +
                           std::to_string(block_index_.y) + ", " + std::to_string(block_index_.z) +
                           "): " + what);
}

std::string Machine::standing() const {
  std::ostringstream out;
  const Lane* last = nullptr;
  for (Lane* lane : active_) {
    if (last && last->done == lane->done && last->waits == lane->waits && last->site == lane->site &&
        last->mask == lane->mask)
      continue;
    out << "\n  from thread (" << lane->thread.x << ", " << lane->thread.y << ", " << lane->thread.z
        << ") on: ";
    if (lane->done)
      out << "ended";
    else
      out << "waits for " << name_of(lane->waits) << " at " << place(lane->site) << std::hex << ", lanes "
          << lane->mask << std::dec;
    last = lane;
  }
  return out.str();
}

bool Machine::run_warp(Warp& warp, bool rising) {
  bool ran = false;
  for (unsigned i = 0; i < warp.count; ++i) {
    Lane& lane = *warp.lanes[rising ? i : warp.count - 1 - i];
    if (lane.done || lane.waits != Meeting::none) continue;
    current_ = &lane;
    switch_fiber(main_, lane.fiber, false);
    if (!fault_.empty()) fail(fault_);
    ran = true;
  }
  return ran;
}

// Lets go the lanes of one warp whose whole mask has come to the same place.
bool Machine::release_warp(Warp& warp) {
  bool any = false;
  for (unsigned i = 0; i < warp.count; ++i) {
    Lane& first = *warp.lanes[i];
    if (first.done || first.waits == Meeting::none || first.waits == Meeting::block) continue;
    bool all = true;
    for (unsigned j = 0; j < 32 && all; ++j) {
      if (!(first.mask >> j & 1)) continue;
      const Lane* lane = warp.lanes[j];
      if (!lane || lane->done)
        fail("lane " + std::to_string(j) +
             " is named in a mask, but has ended or does not exist:" + standing());
      all = lane->waits == first.waits && lane->mask == first.mask && lane->site == first.site;
    }
    if (!all) continue;
    const unsigned mask = first.mask;
    for (unsigned j = 0; j < 32; ++j)
      if (mask >> j & 1) {
        warp.words.of[j] = warp.lanes[j]->word;
        warp.lanes[j]->waits = Meeting::none;
      }
    if (first.combine) first.combine(warp.words, mask);
    any = true;
  }
  return any;
}

bool Machine::release_block() {
  const Site site = active_.front()->site;
  for (Lane* lane : active_)
    if (lane->done || lane->waits != Meeting::block || !(lane->site == site)) return false;
  for (Lane* lane : active_) lane->waits = Meeting::none;
  return true;
}

void Machine::run_block(bool rising) {
  for (Lane* lane : active_) {
    lane->done = false;
    lane->waits = Meeting::none;
    lane->copies.clear();
    lane->groups.clear();
    prepare(lane->fiber, enter_machine);
  }
  for (;;) {
    bool moved = false;
    for (std::size_t w = 0; w < warps_.size(); ++w) {
      Warp& warp = warps_[rising ? w : warps_.size() - 1 - w];
      while (run_warp(warp, rising) || release_warp(warp)) moved = true;
    }
    if (release_block()) continue;
    if (std::all_of(active_.begin(), active_.end(), [](const Lane* lane) { return lane->done; })) return;
    if (!moved) fail("threads wait for others that do not come:" + standing());
  }
}

void Machine::run(const char* name, dim3 grid, dim3 block, std::size_t shared,
                  const std::function<void()>& body) {
  name_ = name;
  fault_.clear();
  body_ = &body;
  grid_ = grid;
  block_ = block;
  const std::size_t threads = std::size_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 ||
      grid.z > 65535 || shared > 227 * 1024)
    fail("a launch of " + std::to_string(threads) + " threads a block, grid (" + std::to_string(grid.x) +
         ", " + std::to_string(grid.y) + ", " + std::to_string(grid.z) + ") and " + std::to_string(shared) +
         " bytes of shared memory is not possible");
  while (lanes_.size() < threads) {
    lanes_.push_back(std::make_unique<Lane>());
    make_stack(lanes_.back()->fiber);
  }
  active_.clear();
  for (std::size_t i = 0; i < threads; ++i) active_.push_back(lanes_[i].get());
  warps_.assign((threads + 31) / 32, Warp{});
  for (std::size_t i = 0; i < threads; ++i) {
    Lane& lane = *active_[i];
    const auto at = static_cast<unsigned>(i);
    lane.thread = dim3(at % block.x, at / block.x % block.y, at / block.x / block.y);
    lane.warp = &warps_[i / 32];
    lane.index = at % 32;
    lane.warp->lanes[lane.index] = &lane;
    lane.warp->count = lane.index + 1;
  }
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  begin_launch_views();
  const std::size_t blocks = std::size_t{grid.x} * grid.y * grid.z;
  for (std::size_t i = 0; i < blocks; ++i) {
    const std::size_t at = block_in_turn(i, blocks);
    block_index_ = dim3(static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                        static_cast<unsigned>(at / grid.x / grid.y));
    // Exactly as large as asked, so that the address sanitizer sees what lies behind.
    void* memory = nullptr;
    if (posix_memalign(&memory, 128, std::max<std::size_t>(shared, 1)) != 0)
      fail("no host memory for shared memory");
    const std::unique_ptr<std::byte, Free> held(static_cast<std::byte*>(memory));
    shared_ = held.get();
    std::fill(shared_, shared_ + shared, kPoison);
    begin_block_view();
    run_block((block_index_.x + block_index_.y + block_index_.z) % 2 == 0);
    end_block_view();
  }
  end_launch_views();
  shared_ = nullptr;
}

}  // namespace

void run(const char* name, dim3 grid, dim3 block, std::size_t shared, const std::function<void()>& body) {
  machine.run(name, grid, block, shared, body);
}

const dim3& thread_index() {
  return machine.current_->thread;
}
const dim3& block_index() {
  return machine.block_index_;
}
const dim3& block_size() {
  return machine.block_;
}
const dim3& grid_size() {
  return machine.grid_;
}
unsigned lane_index() {
  return machine.current_->index;
}
std::byte* dynamic_shared() {
  return machine.shared_;
}

void meet_block(Site site) {
  Lane& lane = *machine.current_;
  lane.site = site;
  lane.mask = 0;
  lane.waits = Meeting::block;
  machine.yield();
}

const WarpWords& meet_warp(unsigned mask, Meeting kind, const void* brings, std::size_t bytes,
                           Combine combine, Site site) {
  Lane& lane = *machine.current_;
  lane.site = site;
  if (!(mask >> lane.index & 1)) machine.fail_here("a lane that its mask does not name waits");
  lane.mask = mask;
  lane.combine = combine;
  if (bytes > 0) std::memcpy(lane.word.bytes, brings, bytes);
  lane.waits = kind;
  machine.yield();
  return lane.warp->words;
}

void fault(const char* what, Site site) {
  machine.current_->site = site;
  machine.fail_here(what);
}

void begin_copy(void* to, const void* from, std::size_t bytes, std::size_t zeros) {
  auto* const at = static_cast<std::byte*>(to);
  std::fill(at, at + bytes + zeros, kPoison);
  machine.current_->copies.push_back({at, from, bytes, zeros});
}
void end_copy_group() {
  Lane& lane = *machine.current_;
  lane.groups.push_back(std::exchange(lane.copies, {}));
}
void wait_for_copy_groups(std::size_t left) {
  auto& groups = machine.current_->groups;
  for (; groups.size() > left; groups.pop_front())
    for (const Copy& copy : groups.front()) {
      if (copy.bytes > 0) std::memcpy(copy.to, copy.from, copy.bytes);
      std::fill(copy.to + copy.bytes, copy.to + copy.bytes + copy.zeros, std::byte{0});
    }
}

}  // namespace spectralkv::host
