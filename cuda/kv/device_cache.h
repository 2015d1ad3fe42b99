// The cache of one sequence on a CUDA device: sealed blocks in the CPU's bytes in pages that are never moved,
// sinks, and the newest tokens exact in a ring. Its meaning is kv/cache.h's.
//
// A step of n tokens:
//     prepare(parts);                                    // host work; never within a captured graph
//     for each layer: attend(parts, layer, ...);         // only launches, if n == 1: may be captured
//     commit(parts);
// A captured step of one token of each part may be replayed for any later ones of the same caches: positions
// are read from device memory, which prepare writes. Not safe for use by two threads at once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cuda/device/device.h"
#include "cuda/kv/device_work.h"
#include "cuda/ops/activations.cuh"
#include "kv/attention.h"
#include "kv/cache.h"

namespace spectralkv {

// Where a row that a cache took was not finite, or beyond f16 where the cache is f16; written by the device.
struct RowFault : device_kv::CacheWords {
  using CacheWords::CacheWords;
  std::int64_t n_kv_heads = 0;
  void check() const;  // a value error that names the row, as it was read last
};

class DeviceCache;

// The matrices of a step, all in device memory.
struct StepMatrices {
  ConstMatrix q, k, v;      // [n, n_heads * head_dim], [n, n_kv_heads * head_dim] twice; behind RoPE
  Matrix out;               // as q
  ConstMatrix cos_sin;      // [n, dims]: q and k come before RoPE, by these; only of parts of one token
  cuda::QuantRows rounded;  // memory for out in 8 bits too, at a head dim that is a multiple of 32
};
// Which rows of them a sequence has.
struct CachePart {
  DeviceCache* cache;
  std::int64_t first, n;
};

class DeviceCache final : public KvCache {
 public:
  // A codec, head dim or option that the device does not take is a value error that names it. work: that of
  // the backend, which outlives its caches.
  DeviceCache(std::shared_ptr<const CacheFormat> format, std::int64_t n_ctx, device_kv::DeviceWork& work);
  ~DeviceCache() override;

  std::int64_t n_tokens() const override;
  void reset() override;
  CacheReport report() const override;
  std::int64_t exact_bytes() const override;
  void read(std::int64_t layer, std::int64_t first, Matrix k, Matrix v) const override;
  void save(StateWriter& out) const override;
  void load(StateReader& in, std::int64_t n_tokens) override;

  // A value error when a row that attend took is a fault. Waits for the device.
  void check_rows() const;

  // Another number for every cache of a program, so that what was recorded for one is never taken for another
  // at the same place.
  std::uint64_t identity() const { return identity_; }

  // The functions below for this cache alone.
  void prepare(std::int64_t n);
  std::shared_ptr<const RowFault> commit(std::int64_t n);

 private:
  void cut(std::int64_t n) override;
  std::unique_ptr<KvCache> twin(std::int64_t n_ctx) const override;
  // A ring of the same length: another one's rows would go over the host, and its pages not be shared.
  std::unique_ptr<KvCache> small_twin() const override { return twin(n_ctx()); }

  friend void prepare(std::span<const CachePart>);
  friend std::vector<std::shared_ptr<const RowFault>> commit(std::span<const CachePart>);
  friend void take_rows(DeviceCache&, std::int64_t, ConstMatrix, ConstMatrix);
  friend void attend(std::span<const CachePart>, std::int64_t, const AttentionShape&, const StepMatrices&);
  struct State;
  std::unique_ptr<State> state_;
  std::uint64_t identity_;
};

// Makes room for each part's tokens and lets the stream wait for the sealing that their queries need; where
// single tokens go is written for all parts together.
void prepare(std::span<const CachePart> parts);
// Counts each part's tokens, which every layer has taken, and seals what they complete. The faults among all
// of their rows, read together, once the device has been waited for.
std::vector<std::shared_ptr<const RowFault>> commit(std::span<const CachePart> parts);

// Takes k and v as attend does, and attends to nothing.
void take_rows(DeviceCache& cache, std::int64_t layer, ConstMatrix k, ConstMatrix v);

// Takes k and v of the prepared tokens of each part into its layer, then attends, each sequence to itself,
// bit for bit as if it were alone: single tokens of caches of one format together, up to kMostParts in a
// launch.
void attend(std::span<const CachePart> parts, std::int64_t layer, const AttentionShape& shape,
            const StepMatrices& step);

}  // namespace spectralkv
