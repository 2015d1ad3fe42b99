// What kernels need of codecs beside a block's bytes: codebooks and rotations in device memory, one copy of
// each.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

#include "cuda/device/memory.h"
#include "cuda/kv/views.h"
#include "kv/codec_form.h"

namespace spectralkv {
class Codec;
}

namespace spectralkv::device_kv {

class CodecTables {
 public:
  // The view of a codec of K or V. A codec that the device does not take is a value error that names it;
  // `text`: its spec.
  CodecView view(const Codec& codec, const std::string& text, KvSide side, device::Stream stream);
  // For policies: a table in device memory, kept under its name.
  template <class T>
  const T* keep(const std::string& name, std::span<const T> values, device::Stream stream) {
    return reinterpret_cast<const T*>(keep_bytes(name, std::as_bytes(values), stream));
  }
  std::int64_t bytes() const;

 private:
  const std::byte* keep_bytes(const std::string& name, std::span<const std::byte> values,
                              device::Stream stream);
  std::map<std::string, device::DeviceBuffer<std::byte>> kept_;
};

}  // namespace spectralkv::device_kv
