// One layer of one sequence on the CPU: exact sinks, sealed blocks, exact tail. What it holds is a function
// of the tokens and the format alone (VOCABULARY.md), whatever steps brought them.
#pragma once

#include <cstdint>
#include <vector>

#include "base/buffer.h"
#include "kv/cache_format.h"
#include "kv/cache_work.h"
#include "kv/report.h"
#include "kv/sealed_block.h"
#include "tensor/matrix.h"

namespace spectralkv {

// K or V.
struct SideStore {
  std::vector<SealedBlock> blocks;
  Buffer<std::byte> sinks;  // [n_kv_heads, layout.sink, head_dim] exact
  Buffer<std::byte> tail;   // [n_kv_heads, tail capacity, head_dim] exact, from the first unsealed token on
};

struct LayerStore {
  // Empty, with room for n_ctx tokens. The format must outlive it.
  LayerStore(const LayerFormat& layer, std::int64_t context)
      : LayerStore(layer, context, layer.tail_capacity(context)) {}

  const LayerFormat* format;
  std::int64_t n_ctx, tail_capacity;
  std::int64_t n_tokens = 0;
  SideStore k, v;

  void reset();
  // Keeps the first n tokens; format->can_go_back(n_tokens, n).
  void truncate(std::int64_t n);
  // A store that holds the same tokens, sealed blocks shared, and has room for `context` of them.
  LayerStore fork(std::int64_t context) const;
  // The same with no room for more, nor for those that a cut would make exact again: it is forked and saved.
  LayerStore keepsake() const;
  // Keys and values of tokens [first, first + k.rows) of a KV head, as the query that comes next would see
  // them: sinks and tail exact, sealed blocks decoded. k, v: [n, head_dim].
  void read_head(std::int64_t head, std::int64_t first, Matrix k_out, Matrix v_out) const;
  // Adds what it holds to a report's sums.
  void count(CacheSideReport& k_sum, SideCounter& k_blocks, CacheSideReport& v_sum,
             SideCounter& v_blocks) const;

 private:
  LayerStore(const LayerFormat& layer, std::int64_t context, std::int64_t capacity);
  LayerStore copy_into(LayerStore twin) const;
};

// Every value must be finite and fit the exact type, or a value error says where one does not. first:
// position of the first row. k, v: [n, n_kv_heads * head_dim].
void check_rows(const LayerFormat& format, std::int64_t first, ConstMatrix k, ConstMatrix v);

// Tokens [begin, end) of each KV head in the exact codec's form.
struct ExactRows {
  const std::byte* base = nullptr;
  std::int64_t head_stride = 0;  // bytes from one head to the next
  std::int64_t begin = 0, end = 0;

  const std::byte* at(const Codec& exact, std::int64_t head, std::int64_t position) const {
    return base + head * head_stride + exact.max_bytes(position - begin);
  }
};

// A step on its way into a layer: made with the keys and values of its tokens, which are checked as
// check_rows does; the blocks that they complete are sealed then. While it lives, `k` and `v` are the exact
// rows that the step's queries may read, and the store still counts the tokens before the step. Its end
// counts the step's, and keeps as tail what stays exact.
class Appended {
 public:
  // k, v: [n, n_kv_heads * head_dim], keys after RoPE. The work space is this object's as long as it lives.
  Appended(LayerStore& store, ConstMatrix k, ConstMatrix v, CacheWork& work);
  ~Appended();
  Appended(const Appended&) = delete;
  Appended& operator=(const Appended&) = delete;

  const LayerStore& store() const { return store_; }
  ExactRows k, v;

 private:
  ExactRows stage(const SideFormat& format, SideStore& side, Buffer<std::byte>& staging, ConstMatrix x);
  void seal();
  void settle(const SideFormat& format, SideStore& side, const ExactRows& rows);

  LayerStore& store_;
  CacheWork& work_;
  std::int64_t n_;
};

}  // namespace spectralkv
