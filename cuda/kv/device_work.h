// What all caches of a backend work with, one layer of one of them at a time: streams, tables, and memory of
// no meaning between calls.
#pragma once

#include <cstdint>
#include <memory>

#include "cuda/device/memory.h"
#include "cuda/kv/cache_words.h"
#include "cuda/kv/page_pool.h"
#include "cuda/kv/tables.h"

namespace spectralkv::device_kv {

// Memory of the sealing kernels.
struct SealMemory {
  device::DeviceBuffer<float> rows, factors, kept, to_points;
  device::DeviceBuffer<int> exponents, ranks;
  device::DeviceBuffer<double> gram, eigenvalues, tridiagonal, eigen_work, vectors, phi, allowed,
      long_vectors, logits;
  device::DeviceBuffer<std::uint16_t> factor_codes, drawn;
  device::DeviceBuffer<std::uint8_t> codes, second_codes, slots;
  device::DeviceBuffer<std::uint32_t> used;
  std::int64_t bytes() const;
};

// Memory of attention: queries in three forms, the states of the pieces of a context, and sealed blocks of K
// and V that have been expanded.
struct AttendMemory {
  device::DeviceBuffer<float> plain, entered, steps, states;
  device::DeviceBuffer<std::int8_t> bytes;
  device::DeviceBuffer<std::uint16_t> expanded[2];
  device::DeviceBuffer<const std::uint8_t*> expanded_table[2];
  device::DeviceBuffer<unsigned> arrived;               // JoinedRows::arrived
  std::int64_t most_expanded = std::int64_t{64} << 20;  // bytes, of both sides together; a block of each fits
  std::int64_t bytes_held() const;
};

struct DeviceWork {
  // stream: where attention will run.
  explicit DeviceWork(device::Stream stream)
      : main(stream), sealing(device::make_stream(device::Urgency::ordinary)) {}
  ~DeviceWork() { device::destroy_stream(sealing); }
  DeviceWork(const DeviceWork&) = delete;
  DeviceWork& operator=(const DeviceWork&) = delete;

  device::Stream main, sealing;
  device::Event appended;
  CodecTables tables;
  SealMemory seal_main, seal_beside;  // of what seals on either stream: neither waits for the other
  AttendMemory attention;
  WordSlabs words;
  std::shared_ptr<PagePool> pages = std::make_shared<PagePool>();  // of its caches

  std::int64_t bytes() const;
};

}  // namespace spectralkv::device_kv
