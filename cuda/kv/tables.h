// What kernels need of codecs beside a block's bytes: codebooks and rotations in device memory, one copy of
// each.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "cuda/device/memory.h"
#include "cuda/kv/views.h"
#include "kv/cache_format.h"

namespace spectralkv::device_kv {

class CodecTables {
 public:
  // The codecs and matrices of K or V of a layer into its view; returns which codec each head has, empty
  // where all have the first. A codec that the device does not take is a value error that names it. name: of
  // what a calibration says of the layer, one that no other has.
  std::vector<std::uint8_t> fill(SideView& view, const SideFormat& format, KvSide side,
                                 const std::string& name, device::Stream stream);
  // For policies: a table in device memory, kept under its name.
  template <class T>
  const T* keep(const std::string& name, std::span<const T> values, device::Stream stream) {
    return reinterpret_cast<const T*>(keep_bytes(name, std::as_bytes(values), stream));
  }
  // Matrices of one shape, one behind the other, each without gaps.
  const float* keep_matrices(const std::string& name, std::span<const ConstMatrix> matrices,
                             device::Stream stream);
  std::int64_t bytes() const;

 private:
  CodecView view(const Codec& codec, const std::string& text, KvSide side, device::Stream stream);
  const std::byte* keep_bytes(const std::string& name, std::span<const std::byte> values,
                              device::Stream stream);
  std::map<std::string, device::DeviceBuffer<std::byte>> kept_;
};

}  // namespace spectralkv::device_kv
