// Work space of the CPU's caches and attention: borrowed for a call, of no meaning between calls. One for all
// sequences of a backend, which works on one layer of one of them at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "base/threads.h"
#include "kv/codec.h"
#include "kv/sealed_block.h"

namespace spectralkv {

struct CacheWork {
  CacheWork(ThreadPool& threads, BlockPool sealed)
      : pool(threads), blocks(std::move(sealed)), workers(static_cast<std::size_t>(threads.size())) {}

  struct Worker {  // of one thread
    CodecWork codec;
    Buffer<float> floats;       // of attention
    Buffer<std::byte> rounded;  // a tile's queries
  };

  ThreadPool& pool;
  BlockPool blocks;  // what is sealed goes there
  std::vector<Worker> workers;
  Buffer<std::byte> staging_k, staging_v;  // only for steps that do not fit into the tail
  Buffer<std::byte> slots;                 // blocks as they are encoded, before their size is known
  Buffer<float> states;                    // of attention, when a context is split: [tile, span] states

  std::int64_t bytes() const {
    auto sum =
        static_cast<std::int64_t>(staging_k.bytes() + staging_v.bytes() + slots.bytes() + states.bytes());
    for (const Worker& worker : workers)
      sum += static_cast<std::int64_t>(worker.floats.bytes() + worker.rounded.bytes()) +
             worker.codec.held_bytes();
    return sum;
  }
};

}  // namespace spectralkv
