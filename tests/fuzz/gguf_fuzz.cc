// Fuzzes the GGUF reader: what it accepts must hold. driver.cc runs this without libFuzzer,
// tests/checks/fuzz.sh with it as well, where there is one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "base/error.h"
#include "fuzz/fuzz.h"
#include "gguf/gguf.h"
#include "support/tiny_model.h"

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const auto& row : spectralkv::test::tiny_architectures()) {
    spectralkv::test::TinyModel model;
    model.n_layers = 1;
    model.n_embd = 8;
    model.n_heads = model.n_kv_heads = 1;
    model.n_ff = 8;
    model.arch = row.name;
    seeds.push_back(model.bytes());
  }
  return seeds;
}

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
