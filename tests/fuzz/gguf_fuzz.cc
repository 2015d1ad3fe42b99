// libFuzzer entry for the GGUF reader. With clang 16 or newer, from the repository's root:
//   clang++ -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -I cpp
//     tests/fuzz/gguf_fuzz.cc cpp/gguf/*.cc cpp/tensor/dtype.cc cpp/base/mapped_file.cc -o gguf_fuzz
//   ./gguf_fuzz -max_len=4096 -rss_limit_mb=2048 CORPUS_FOLDER
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "gguf/gguf.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto file = spectralkv::Gguf::from_bytes(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    // What was accepted must hold: every tensor lies in the input and is found by its name.
    for (const spectralkv::GgufTensor& tensor : file.tensors()) {
      const auto* const begin = reinterpret_cast<const std::uint8_t*>(tensor.data);
      if (begin < data || tensor.bytes < 1 || begin + tensor.bytes > data + size) std::abort();
      if (file.find_tensor(tensor.name) != &tensor) std::abort();
    }
    for (const spectralkv::GgufEntry& entry : file.metadata())
      if (file.find_value(entry.key) != &entry.value) std::abort();
  } catch (const spectralkv::Error&) {
    // Refused: what nearly every input deserves.
  }
  return 0;
}
