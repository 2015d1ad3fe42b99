// What a thread block sees of the writes of others, as weak as the device allows; and the order of blocks.
#pragma once

#include <cstddef>

namespace spectralkv::host {

enum class BlockOrder { rising, falling, shuffled };

// While one lives, the blocks of a launch run in this order, and with memory of their own: what other blocks
// of the launch wrote there is poison, until the writer had a fence and then an atomic, and the reader an
// atomic and then a fence (PTX: release and acquire patterns). Atomics work on the memory of all; that they
// are on the same place is not asked for. The end of a launch shows everything. Slow: each fence compares all
// device memory.
class BlockViews {
 public:
  explicit BlockViews(BlockOrder order);
  ~BlockViews();
  BlockViews(const BlockViews&) = delete;
  BlockViews& operator=(const BlockViews&) = delete;
};

// For the executor. The i-th of n blocks to run; a number below n.
std::size_t block_in_turn(std::size_t i, std::size_t n);
// Around a launch and each of its blocks.
void begin_launch_views();
void end_launch_views();
void begin_block_view();
void end_block_view();
// Of the block that runs.
void fence_view();
void begin_atomic(void* at, std::size_t bytes);
void end_atomic(void* at, std::size_t bytes);

}  // namespace spectralkv::host
