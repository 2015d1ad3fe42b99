// A block in one piece of memory.
#include "kv/sealed_block.h"

#include <algorithm>
#include <new>

#include "base/error.h"

namespace spectralkv {

SealedBlock::SealedBlock(const BlockPool& pool, std::span<const std::span<const std::byte>> heads) {
  std::size_t bytes = 0;
  for (const auto& head : heads) bytes += head.size();
  const std::size_t words = 1 + heads.size() + (bytes + 3) / 4;
  auto* const memory = new (std::nothrow) std::uint32_t[words];
  if (memory == nullptr) fail(ErrorKind::memory, "kv", "cannot allocate ", 4 * words, " bytes for a block");
  const auto size = static_cast<std::int64_t>(4 * words);
  pool.held_->fetch_add(size, std::memory_order_relaxed);  // the deleter may be called at once
  words_ = std::shared_ptr<const std::uint32_t[]>(memory, [held = pool.held_, size](const std::uint32_t* m) {
    held->fetch_sub(size, std::memory_order_relaxed);
    delete[] m;
  });

  memory[0] = static_cast<std::uint32_t>(heads.size());
  auto* to = reinterpret_cast<std::byte*>(memory + 1 + heads.size());
  std::uint32_t end = 0;
  for (std::size_t h = 0; h < heads.size(); ++h) {
    to = std::copy(heads[h].begin(), heads[h].end(), to);
    end += static_cast<std::uint32_t>(heads[h].size());
    memory[1 + h] = end;
  }
}

}  // namespace spectralkv
