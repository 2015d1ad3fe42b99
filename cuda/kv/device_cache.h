// The cache of one sequence on a CUDA device: sealed blocks in the CPU's bytes in pages that are never moved,
// sinks, and the newest tokens exact in a ring. Its meaning is kv/cache.h's.
//
// A step of n tokens:
//     cache.prepare(n, stream);                          // host work; never within a captured graph
//     for each layer: attend(cache, layer, ..., stream); // only launches, if n == 1: may be captured
//     cache.commit(n);
// A captured step of one token may be replayed for any later token of this cache: positions are read from
// device memory, which prepare writes. Not safe for use by two threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "cuda/device/device.h"
#include "kv/attention.h"
#include "kv/cache.h"

namespace spectralkv {

class DeviceCache final : public KvCache {
 public:
  // type_k, type_v: specs for all layers (kv/codecs.h). A codec, head dim or option that the device does not
  // take is a value error that names it. stream: where attend will run.
  DeviceCache(const CacheShape& shape, const std::string& type_k, const std::string& type_v,
              device::Stream stream);
  ~DeviceCache() override;

  const CacheShape& shape() const;
  std::int64_t n_tokens() const override;
  void commit(std::int64_t n) override;
  void reset() override;
  void truncate(std::int64_t n) override;
  std::int64_t nearest_below(std::int64_t n) const override;
  CacheReport report() const override;
  void save(StateWriter& out) const override;
  void load(StateReader& in, std::int64_t n_tokens) override;

  // A value error when a row that attend took was not finite, or beyond f16 where the cache is f16. Waits for
  // the stream.
  void check_rows(device::Stream stream) const;
  std::int64_t work_bytes() const;

  // Makes room for n more tokens and lets `stream` wait for the sealing that their queries need.
  void prepare(std::int64_t n, device::Stream stream);

 private:
  friend void take_rows(DeviceCache&, std::int64_t, ConstMatrix, ConstMatrix, device::Stream);
  friend void attend(DeviceCache&, std::int64_t, const AttentionShape&, ConstMatrix, ConstMatrix, ConstMatrix,
                     Matrix, device::Stream);
  struct State;
  std::unique_ptr<State> state_;
};

// Takes k and v as attend does, and attends to nothing.
void take_rows(DeviceCache& cache, std::int64_t layer, ConstMatrix k, ConstMatrix v, device::Stream stream);

// Takes k and v [n, n_kv_heads * head_dim] of the n prepared tokens (keys after RoPE) into the layer, then
// attends: out [n, n_heads * head_dim] from q of the same shape. All matrices lie in device memory.
void attend(DeviceCache& cache, std::int64_t layer, const AttentionShape& shape, ConstMatrix q, ConstMatrix k,
            ConstMatrix v, Matrix out, device::Stream stream);

}  // namespace spectralkv
