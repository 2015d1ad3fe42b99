// Sealed blocks: immutable, counted by their users, and freed with the last of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace spectralkv {

// What the sealed blocks of several sequences take together: a block that sequences share counts once. Copies
// count into one sum.
class BlockPool {
 public:
  std::int64_t bytes() const { return held_->load(std::memory_order_relaxed); }

 private:
  friend class SealedBlock;
  std::shared_ptr<std::atomic<std::int64_t>> held_ = std::make_shared<std::atomic<std::int64_t>>(0);
};

// One block of a layer's K or V, all KV heads together. A copy is the same block.
class SealedBlock {
 public:
  // Beside what its heads take: their number, and where each ends.
  static constexpr std::int64_t overhead(std::int64_t n_heads) { return 4 * (n_heads + 1); }

  // A copy of the heads' bytes. A memory error names the size.
  SealedBlock(const BlockPool& pool, std::span<const std::span<const std::byte>> heads);

  std::uint32_t n_heads() const { return words_[0]; }
  std::span<const std::byte> head(std::size_t h) const {
    const std::uint32_t begin = h == 0 ? 0 : words_[h];
    return {reinterpret_cast<const std::byte*>(words_.get() + 1 + words_[0]) + begin, words_[h + 1] - begin};
  }
  // Asks memory for what head() looks up.
  void prefetch_heads() const { __builtin_prefetch(words_.get(), 0, 3); }
  // Heads and overhead.
  std::int64_t bytes() const { return overhead(n_heads()) + words_[n_heads()]; }

 private:
  std::shared_ptr<const std::uint32_t[]> words_;  // number of heads, the end of each, then their bytes
};

}  // namespace spectralkv
